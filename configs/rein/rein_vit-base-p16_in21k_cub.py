# Rein on CUB-200-2011, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2312.04265; a method for segmentation.
# Published: no figure of this method, task and backbone known to us.
# Protocol: FGVC, train on train, select on val.
# The recipe is that of adapters, tokens are as released. Patches are pooled: with CLS
# the refinement behind the last layer reaches nothing.
# Run: bash tools/dist_train.sh configs/rein/rein_vit-base-p16_in21k_cub.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/adapter_adamw_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='RefiningPrompt'), pooling='patches'),
    head=dict(num_classes=200),
)
