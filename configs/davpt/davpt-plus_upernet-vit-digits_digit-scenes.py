# DA-VPT+ with UperNet, guided by the class of each patch, on scenes of the digits 5-9, a
# row of `make demo-seg`.
# Run: python tools/train.py configs/davpt/davpt-plus_upernet-vit-digits_digit-scenes.py
_base_ = [
    '../_base_/models/upernet_vit-digits.py',
    '../_base_/datasets/digit_scenes.py',
    '../_base_/schedules/scenes_adamw_300i.py',
]

model = dict(
    backbone=dict(
        prompt=dict(
            type='DistributionAwarePrompt',
            num_classes=_base_.model.decode_head.num_classes,
            num_guided_tokens=3,
            num_tokens=10,
            labels='patch',
        ),
        tunable='davpt+',
    )
)
default_hooks = dict(
    semantic_mapping=dict(
        type='mmvpt.SemanticMappingHook', by_epoch=False, interval=20
    ),
    metric_guidance=dict(
        type='mmvpt.MetricGuidanceHook', visual_weight=0.1, cls_weight=0.1
    ),
)
