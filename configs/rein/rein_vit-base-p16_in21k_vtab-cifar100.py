# Rein on CIFAR-100 of VTAB-1k, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2312.04265; a method for segmentation.
# Published: no figure of this method, task and backbone known to us.
# Protocol: VTAB-1k, tune on train800, select on val200.
# The recipe is that of adapters, tokens are as released. Patches are pooled: with CLS
# the refinement behind the last layer reaches nothing.
# Run: bash tools/dist_train.sh configs/rein/rein_vit-base-p16_in21k_vtab-cifar100.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/adapter_adamw_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='RefiningPrompt'), pooling='patches'),
    head=dict(num_classes=100),
)
