# Converged linear probe (L-BFGS, L2 chosen on validation).
# CUB-200-2011, supervised ImageNet-21k ViT-B/16.
# No published figure of the same protocol is known to us.
# Run: python tools/train.py configs/baselines/linear-converged_vit-base-p16_in21k_cub.py
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/probe_lbfgs.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=200))
