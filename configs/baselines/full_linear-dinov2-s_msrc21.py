# Full fine-tuning with a linear head.
# MSRC-21, DINOv2 ViT-S/14; docs/results.md.
# Run: python tools/train.py configs/baselines/full_linear-dinov2-s_msrc21.py
_base_ = [
    '../_base_/models/seg-linear_dinov2-s_focus.py',
    '../_base_/datasets/msrc21.py',
    '../_base_/schedules/msrc21_adamw_140i.py',
]

model = dict(backbone=dict(tunable='full'))
