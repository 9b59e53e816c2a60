# PRO-VPT.
# Fashion-MNIST 1k, a small ViT pretrained on CIFAR-10; docs/results.md.
# Run: python tools/train.py configs/provpt/provpt_vit-mini_fashion1k.py
_base_ = [
    '../_base_/models/vit-mini_cifar10.py',
    '../_base_/datasets/fashion1k.py',
    '../_base_/schedules/fashion1k_adamw_8e.py',
    '../_base_/provpt_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='RelocatedPrompt', num_tokens=10, drop_rate=0.0))
)
