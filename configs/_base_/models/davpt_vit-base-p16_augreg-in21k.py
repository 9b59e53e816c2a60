# DA-VPT on the supervised ViT-B/16: what its released configs share. Tokens, guided
# layers, drop-path and mask are per task.
_base_ = ['./vit-base-p16_augreg-in21k.py']

model = dict(
    backbone=dict(prompt=dict(type='DistributionAwarePrompt', init_divisor=8.0)),
    # weight N(0, 0.02^2), bias 0
    head=dict(
        init_cfg=dict(_delete_=True, type='TruncNormal', layer='Linear', std=0.02)
    ),
)
