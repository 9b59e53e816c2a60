# Frozen backbone with a tuned decoder, on Pascal Context, SETR-PUP, ViT-L/16.
# Source: https://arxiv.org/abs/2505.23694, Table 2.
# Published: mIoU 46.06 single-scale, 48.13 multi-scale (DA-VPT paper).
# What papers call "Linear" or "Head only".
# Run: bash tools/dist_train.sh configs/baselines/frozen_setr-pup-vit-large-p16_pascal-context.py 8
_base_ = [
    '../_base_/models/setr-pup_vit-large-p16_pascal-context.py',
    '../_base_/datasets/pascal_context.py',
    '../_base_/schedules/setr_sgd_160k.py',
    '../_base_/segmentation_runtime.py',
]
