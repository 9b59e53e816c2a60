# PRO-VPT on the demo's target task (digits 5-9).
# Run: python tools/train.py configs/provpt/provpt_vit-digits_digits.py
_base_ = [
    '../_base_/models/vit-digits.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/digits_adamw_30e.py',
    '../_base_/provpt_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='RelocatedPrompt', num_tokens=10, drop_rate=0.0))
)
