# Converged linear probe (L-BFGS, L2 chosen on validation).
# 100 species of birds, 1,000 photographs, DINOv2 ViT-S/14; docs/results.md.
# Run: python tools/train.py configs/baselines/linear-converged_dinov2-s_cub100.py
_base_ = [
    '../_base_/models/dinov2-s_focus.py',
    '../_base_/datasets/cub100_1k.py',
    '../_base_/schedules/probe_lbfgs.py',
    '../_base_/default_runtime.py',
]

model = dict(neck=None)
