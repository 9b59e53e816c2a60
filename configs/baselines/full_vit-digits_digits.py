# Full fine-tuning.
# The demo's target task (digits 5-9).
# Run: python tools/train.py configs/baselines/full_vit-digits_digits.py
_base_ = [
    '../_base_/models/vit-digits.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/digits_adamw_30e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(tunable='full'))

# 0.001 for the ViT
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.0333)))
)
