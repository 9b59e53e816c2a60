# The last layer and the final norm.
# CUB-200-2011, supervised ImageNet-21k ViT-B/16.
# No published figure of the same protocol is known to us.
# Run: bash tools/dist_train.sh configs/baselines/partial-1_vit-base-p16_in21k_cub.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(tunable='partial-1'),
    head=dict(num_classes=200),
)
