# UperNet on the frozen ViT, on scenes of the digits 5-9, a row of `make demo-seg`.
# Run: python tools/train.py configs/baselines/frozen_upernet-vit-digits_digit-scenes.py
_base_ = [
    '../_base_/models/upernet_vit-digits.py',
    '../_base_/datasets/digit_scenes.py',
    '../_base_/schedules/scenes_adamw_300i.py',
]
