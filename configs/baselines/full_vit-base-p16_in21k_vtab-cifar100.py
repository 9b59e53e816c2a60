# Full fine-tuning.
# CIFAR-100 of VTAB-1k, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2203.12119; published: top-1 68.9 on test.
# Run: bash tools/dist_train.sh configs/baselines/full_vit-base-p16_in21k_vtab-cifar100.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/adamw_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(tunable='full'),
    head=dict(num_classes=100),
)
