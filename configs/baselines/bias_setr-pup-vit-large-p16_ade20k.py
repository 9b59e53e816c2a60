# Bias tuning (BitFit), on ADE20K, SETR-PUP, ViT-L/16.
# Source: https://arxiv.org/abs/2505.23694, Table 2.
# Published: mIoU 43.61 single-scale, 45.73 multi-scale (DA-VPT paper).
# Run: bash tools/dist_train.sh configs/baselines/bias_setr-pup-vit-large-p16_ade20k.py 8
_base_ = [
    '../_base_/models/setr-pup_vit-large-p16.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/setr_sgd_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(backbone=dict(tunable='bias'))
