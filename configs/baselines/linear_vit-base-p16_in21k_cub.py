# Linear probe, trained by SGD.
# CUB-200-2011, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2203.12119; published: FGVC mean of five tasks 79.32.
# Run: bash tools/dist_train.sh configs/baselines/linear_vit-base-p16_in21k_cub.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=200))
