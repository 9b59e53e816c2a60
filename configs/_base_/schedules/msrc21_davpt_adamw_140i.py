# msrc21_adamw_140i.py and the two hooks of DA-VPT.
_base_ = ['./msrc21_adamw_140i.py']

default_hooks = dict(
    # one pass over the images are 35 batches
    semantic_mapping=dict(
        type='mmvpt.SemanticMappingHook', by_epoch=False, interval=35
    ),
    metric_guidance=dict(
        type='mmvpt.MetricGuidanceHook', visual_weight=0.01, cls_weight=0.01
    ),
)
