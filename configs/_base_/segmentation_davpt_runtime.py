# segmentation_runtime.py and the two hooks of DA-VPT; see davpt_runtime.py. Weights and
# scale are the defaults of the released segmentation code. Classes are grouped anew
# about once per epoch: 1263 batches of 16 are one pass over ADE20K. The pass before
# training reads one crop of each training image; max_images=6400 as in the released
# code is shorter.
_base_ = ['./segmentation_runtime.py']

default_hooks = dict(
    semantic_mapping=dict(
        type='mmvpt.SemanticMappingHook', by_epoch=False, interval=1263
    ),
    metric_guidance=dict(
        type='mmvpt.MetricGuidanceHook',
        loss=dict(type='mmvpt.ProxyAnchorLoss', scale=5.0),
        visual_weight=0.05,
        cls_weight=0.05,
    ),
)
