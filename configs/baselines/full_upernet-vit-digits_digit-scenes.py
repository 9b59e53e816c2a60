# Full fine-tuning with UperNet on scenes of the digits 5-9, a row of `make demo-seg`.
# Run: python tools/train.py configs/baselines/full_upernet-vit-digits_digit-scenes.py
_base_ = [
    '../_base_/models/upernet_vit-digits.py',
    '../_base_/datasets/digit_scenes.py',
    '../_base_/schedules/scenes_adamw_300i.py',
]

model = dict(backbone=dict(tunable='full'))
# 0.001 for the ViT
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))))
