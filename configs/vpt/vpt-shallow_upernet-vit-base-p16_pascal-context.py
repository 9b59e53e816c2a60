# VPT-shallow on Pascal Context, UPerNet, ViT-B/16 (AugReg).
# Published: no figure of this method, decoder and backbone known to us.
# As many prompts as VPT-deep has for a layer; a value to sweep.
# Run: bash tools/dist_train.sh configs/vpt/vpt-shallow_upernet-vit-base-p16_pascal-context.py 8
_base_ = [
    '../_base_/models/upernet_vit-base-p16_pascal-context.py',
    '../_base_/datasets/pascal_context.py',
    '../_base_/schedules/upernet_adamw_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(backbone=dict(prompt=dict(type='ShallowPrompt', num_tokens=20)))
