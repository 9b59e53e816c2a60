# Full fine-tuning, on Pascal Context, SETR-PUP, ViT-L/16.
# Source: https://arxiv.org/abs/2505.23694, Table 2.
# Published: mIoU 53.69 single-scale, 55.21 multi-scale (DA-VPT paper).
# Run: bash tools/dist_train.sh configs/baselines/full_setr-pup-vit-large-p16_pascal-context.py 8
_base_ = [
    '../_base_/models/setr-pup_vit-large-p16_pascal-context.py',
    '../_base_/datasets/pascal_context.py',
    '../_base_/schedules/setr_sgd_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(backbone=dict(tunable='full'))
