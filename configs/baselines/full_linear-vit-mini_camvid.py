# Full fine-tuning with a linear head.
# CamVid, a small ViT pretrained on CIFAR-10; docs/results.md.
# Run: python tools/train.py configs/baselines/full_linear-vit-mini_camvid.py
_base_ = ['./probe_linear-vit-mini_camvid.py']

model = dict(backbone=dict(tunable='full'))
optim_wrapper = dict(
    paramwise_cfg=dict(_delete_=True, custom_keys=dict(backbone=dict(lr_mult=0.3)))
)
