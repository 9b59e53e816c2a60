# BPT-bilinear, shallow on the demo's target task (digits 5-9).
# Run: python tools/train.py configs/bpt/bpt-shallow_vit-digits_digits.py
_base_ = [
    '../_base_/models/vit-digits.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/digits_adamw_30e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(prompt=dict(type='BilinearPrompt', num_tokens=10, rank=16)))
