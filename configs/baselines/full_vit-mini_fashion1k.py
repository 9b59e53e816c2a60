# Full fine-tuning.
# Fashion-MNIST 1k, a small ViT pretrained on CIFAR-10; docs/results.md.
# Run: python tools/train.py configs/baselines/full_vit-mini_fashion1k.py
_base_ = [
    '../_base_/models/vit-mini_cifar10.py',
    '../_base_/datasets/fashion1k.py',
    '../_base_/schedules/fashion1k_adamw_8e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(tunable='full'))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))))
