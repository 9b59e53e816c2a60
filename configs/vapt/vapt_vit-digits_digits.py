# VAPT on the demo's target task (digits 5-9).
# init is the default of the time when the figures were measured.
# Run: python tools/train.py configs/vapt/vapt_vit-digits_digits.py
_base_ = [
    '../_base_/models/vit-digits.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/digits_adamw_30e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='AdaptivePrompt', num_tokens=10, drop_rate=0.0, init='small'),
        pooling='cls',
        final_norm='pretrained',
    )
)
