# DA-VPT+: also biases of keys and values, and the class token.
# 100 species of birds, 1,000 photographs, DINOv2 ViT-S/14; docs/results.md.
# Run: python tools/train.py configs/davpt/davpt-plus_dinov2-s_cub100.py
_base_ = [
    '../_base_/models/dinov2-s_focus.py',
    '../_base_/datasets/cub100_1k.py',
    '../_base_/schedules/cub100_adamw_3e.py',
    '../_base_/davpt_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(
            type='DistributionAwarePrompt',
            num_classes=_base_.model.head.num_classes,
            num_guided_tokens=5,
            num_tokens=10,
        ),
        tunable='davpt+',
    )
)
default_hooks = dict(
    metric_guidance=dict(loss=dict(scale=1.0), visual_weight=0.01, cls_weight=0.01)
)
