# VPT-deep with UPerNet.
# MSRC-21, DINOv2 ViT-S/14; docs/results.md.
# Run: python tools/train.py configs/vpt/vpt-deep_upernet-dinov2-s_msrc21.py
_base_ = [
    '../_base_/models/upernet_dinov2-s_focus.py',
    '../_base_/datasets/msrc21.py',
    '../_base_/schedules/msrc21_adamw_140i.py',
]

model = dict(backbone=dict(prompt=dict(type='DeepPrompt', num_tokens=10)))
