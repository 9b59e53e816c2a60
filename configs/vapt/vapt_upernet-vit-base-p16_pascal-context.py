# VAPT on Pascal Context, UPerNet, ViT-B/16 (AugReg).
# Published: no figure of this method, decoder and backbone known to us.
# Its paper has a figure for segmentation, its code has none. Tokens as VPT-deep here,
# the rest as its classifiers: values to sweep.
# Run: bash tools/dist_train.sh configs/vapt/vapt_upernet-vit-base-p16_pascal-context.py 8
_base_ = [
    '../_base_/models/upernet_vit-base-p16_pascal-context.py',
    '../_base_/datasets/pascal_context.py',
    '../_base_/schedules/upernet_adamw_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(backbone=dict(prompt=dict(type='AdaptivePrompt', num_tokens=20)))
