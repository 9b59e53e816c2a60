# Linear probe on Pascal Context, a linear head, ViT-B/16 (AugReg).
# Published: no figure of this method, decoder and backbone known to us.
# One 1x1 convolution on the last features of the frozen ViT; not what papers call
# "Linear", which is frozen_setr-pup-*.
# Run: bash tools/dist_train.sh configs/baselines/probe_linear-vit-base-p16_pascal-context.py 8
_base_ = [
    '../_base_/models/seg-linear_vit-base-p16.py',
    '../_base_/datasets/pascal_context.py',
    '../_base_/schedules/upernet_adamw_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(decode_head=dict(num_classes=60))
