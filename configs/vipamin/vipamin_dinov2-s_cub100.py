# VIPAMIN, shallow.
# 100 species of birds, 1,000 photographs, DINOv2 ViT-S/14; docs/results.md.
# Run: python tools/train.py configs/vipamin/vipamin_dinov2-s_cub100.py
_base_ = [
    '../_base_/models/dinov2-s_focus.py',
    '../_base_/datasets/cub100_1k.py',
    '../_base_/schedules/cub100_adamw_3e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='VipaminPrompt', num_tokens=10, num_matches=8))
)
