# Frozen backbone with a tuned decoder, on ADE20K, SETR-PUP, ViT-L/16.
# Source: https://arxiv.org/abs/2505.23694, Table 2.
# Published: mIoU 38.09 single-scale, 39.16 multi-scale (DA-VPT paper, "Linear"; the VPT
# paper has 35.12 and 37.46).
# What papers call "Linear" or "Head only".
# Run: bash tools/dist_train.sh configs/baselines/frozen_setr-pup-vit-large-p16_ade20k.py 8
_base_ = [
    '../_base_/models/setr-pup_vit-large-p16.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/setr_sgd_160k.py',
    '../_base_/segmentation_runtime.py',
]
