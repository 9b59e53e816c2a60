# Rein.
# Patches are pooled: with CLS the refinement behind the last layer reaches nothing.
# 100 species of birds, 1,000 photographs, DINOv2 ViT-S/14; docs/results.md.
# Run: python tools/train.py configs/rein/rein_dinov2-s_cub100.py
_base_ = [
    '../_base_/models/dinov2-s_focus.py',
    '../_base_/datasets/cub100_1k.py',
    '../_base_/schedules/cub100_adamw_3e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='RefiningPrompt', num_tokens=20, rank=8),
        pooling='patches',
    )
)
