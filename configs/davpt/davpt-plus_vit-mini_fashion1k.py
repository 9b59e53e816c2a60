# DA-VPT+: also biases of keys and values, and the class token.
# Fashion-MNIST 1k, a small ViT pretrained on CIFAR-10; docs/results.md.
# Run: python tools/train.py configs/davpt/davpt-plus_vit-mini_fashion1k.py
_base_ = [
    '../_base_/models/vit-mini_cifar10.py',
    '../_base_/datasets/fashion1k.py',
    '../_base_/schedules/fashion1k_adamw_8e.py',
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
    metric_guidance=dict(loss=dict(scale=1.0), visual_weight=0.1, cls_weight=0.1)
)
