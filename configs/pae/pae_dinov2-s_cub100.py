# VPT-deep with PAE.
# 100 species of birds, 1,000 photographs, DINOv2 ViT-S/14; docs/results.md.
# Run: python tools/train.py configs/pae/pae_dinov2-s_cub100.py
_base_ = [
    '../_base_/models/dinov2-s_focus.py',
    '../_base_/datasets/cub100_1k.py',
    '../_base_/schedules/cub100_adamw_3e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(
            type='EvolvingPrompt', num_tokens=10, koopman_dims=64, window=28, stride=14
        )
    )
)
