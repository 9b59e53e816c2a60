# VPT-deep on ADE20K, UPerNet, ViT-B/16 (AugReg).
# Published: no figure of this method, decoder and backbone known to us.
# No paper has this cell: the recipe is that of the decoder, tokens are as on ViT-L.
# Run: bash tools/dist_train.sh configs/vpt/vpt-deep_upernet-vit-base-p16_ade20k.py 8
_base_ = [
    '../_base_/models/upernet_vit-base-p16.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/upernet_adamw_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(backbone=dict(prompt=dict(type='DeepPrompt', num_tokens=20)))
