# Rein with a linear head.
# CamVid, a small ViT pretrained on CIFAR-10; docs/results.md.
# Run: python tools/train.py configs/rein/rein_linear-vit-mini_camvid.py
_base_ = ['../baselines/probe_linear-vit-mini_camvid.py']

model = dict(backbone=dict(prompt=dict(type='RefiningPrompt', num_tokens=20, rank=8)))
optim_wrapper = dict(
    paramwise_cfg=dict(_delete_=True, custom_keys=dict(backbone=dict(lr_mult=1.0)))
)
