# DA-VPT+ with UperNet, guided by the classes of each image.
# CamVid, a small ViT pretrained on CIFAR-10; docs/results.md.
# Run: python tools/train.py configs/davpt/davpt-plus_upernet-vit-mini_camvid.py
_base_ = [
    '../_base_/models/upernet_vit-mini_cifar10.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/camvid_adamw_250i.py',
]

model = dict(
    backbone=dict(
        prompt=dict(
            type='DistributionAwarePrompt',
            num_classes=_base_.model.decode_head.num_classes,
            num_guided_tokens=5,
            num_tokens=10,
        ),
        tunable='davpt+',
    )
)
default_hooks = dict(
    # one pass over the images are 46 batches
    semantic_mapping=dict(
        type='mmvpt.SemanticMappingHook', by_epoch=False, interval=46
    ),
    metric_guidance=dict(
        type='mmvpt.MetricGuidanceHook', visual_weight=0.1, cls_weight=0.1
    ),
)
