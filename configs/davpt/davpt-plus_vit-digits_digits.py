# DA-VPT+: also biases of keys and values, and the class token.
# The demo's target task (digits 5-9), a row of `make demo`.
# Run: python tools/train.py configs/davpt/davpt-plus_vit-digits_digits.py
_base_ = [
    '../_base_/models/vit-digits.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/digits_adamw_30e.py',
    '../_base_/davpt_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(
            type='DistributionAwarePrompt',
            num_classes=_base_.model.head.num_classes,
            num_guided_tokens=2,
            num_tokens=10,
        ),
        tunable='davpt+',
    )
)
default_hooks = dict(
    metric_guidance=dict(loss=dict(scale=1.0), visual_weight=0.1, cls_weight=0.1)
)
