# BPT-bilinear, shallow.
# Fashion-MNIST 1k, a small ViT pretrained on CIFAR-10; docs/results.md.
# Run: python tools/train.py configs/bpt/bpt-shallow_vit-mini_fashion1k.py
_base_ = [
    '../_base_/models/vit-mini_cifar10.py',
    '../_base_/datasets/fashion1k.py',
    '../_base_/schedules/fashion1k_adamw_8e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(prompt=dict(type='BilinearPrompt', num_tokens=10, rank=32)))
