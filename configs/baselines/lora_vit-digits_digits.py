# LoRA of queries and values.
# The demo's target task (digits 5-9).
# Run: python tools/train.py configs/baselines/lora_vit-digits_digits.py
_base_ = [
    '../_base_/models/vit-digits.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/digits_adamw_30e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(adapter=dict(type='LoRA', rank=4)))
