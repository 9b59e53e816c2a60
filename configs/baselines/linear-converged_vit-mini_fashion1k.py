# Converged linear probe (L-BFGS, L2 chosen on validation).
# Fashion-MNIST 1k, a small ViT pretrained on CIFAR-10; docs/results.md.
# Run: python tools/train.py configs/baselines/linear-converged_vit-mini_fashion1k.py
_base_ = [
    '../_base_/models/vit-mini_cifar10.py',
    '../_base_/datasets/fashion1k.py',
    '../_base_/schedules/probe_lbfgs.py',
    '../_base_/default_runtime.py',
]

model = dict(neck=None)
