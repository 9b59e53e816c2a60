# Converged linear probe (L-BFGS, L2 chosen on validation).
# CIFAR-100 of VTAB-1k, supervised ImageNet-21k ViT-B/16.
# No published figure of the same protocol is known to us.
# Run: python tools/train.py configs/baselines/linear-converged_vit-base-p16_in21k_vtab-cifar100.py
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/probe_lbfgs.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=100))
