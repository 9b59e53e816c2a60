# default_runtime.py and the two hooks of DA-VPT, by name, so that a config or the
# command line changes one value of them: default_hooks.metric_guidance.cls_weight=0.1.
# Loss weights and scale are per task, and those of the released files go with the
# operands that their code compares (released=True). With default_runtime.py in its place
# the same prompts train without metric losses. The released runs use mixed precision:
# add --amp.
_base_ = ['./default_runtime.py']

default_hooks = dict(
    # groups classes before training and after each epoch
    semantic_mapping=dict(type='mmvpt.SemanticMappingHook'),
    # adds loss_metric_visual and loss_metric_cls
    metric_guidance=dict(
        type='mmvpt.MetricGuidanceHook',
        # scale 5 in most released configs, whose weights go with it
        loss=dict(type='mmvpt.ProxyAnchorLoss', scale=5.0),
        visual_weight=0.01,
        cls_weight=0.01,
    ),
)
