# The last layer and the final norm.
# CIFAR-100 of VTAB-1k, supervised ImageNet-21k ViT-B/16.
# No published figure of the same protocol is known to us.
# Run: bash tools/dist_train.sh configs/baselines/partial-1_vit-base-p16_in21k_vtab-cifar100.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(tunable='partial-1'),
    head=dict(num_classes=100),
)
