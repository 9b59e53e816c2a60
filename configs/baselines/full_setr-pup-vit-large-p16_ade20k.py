# Full fine-tuning, on ADE20K, SETR-PUP, ViT-L/16.
# Source: https://arxiv.org/abs/2505.23694, Table 2.
# Published: mIoU 47.60 single-scale, 49.18 multi-scale (DA-VPT paper; the VPT paper has
# 48.31 and 50.07).
# Run: bash tools/dist_train.sh configs/baselines/full_setr-pup-vit-large-p16_ade20k.py 8
_base_ = [
    '../_base_/models/setr-pup_vit-large-p16.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/setr_sgd_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(backbone=dict(tunable='full'))
