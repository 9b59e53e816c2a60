# VPT-deep on Pascal Context, SETR-PUP, ViT-L/16.
# Source: https://arxiv.org/abs/2505.23694, Table 2.
# Published: mIoU 49.51 single-scale, 50.46 multi-scale (DA-VPT paper).
# 20 prompts for each layer make the 13.6 M tuned parameters of Table 2 on ADE20K.
# Run: bash tools/dist_train.sh configs/vpt/vpt-deep_setr-pup-vit-large-p16_pascal-context.py 8
_base_ = [
    '../_base_/models/setr-pup_vit-large-p16_pascal-context.py',
    '../_base_/datasets/pascal_context.py',
    '../_base_/schedules/setr_sgd_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(backbone=dict(prompt=dict(type='DeepPrompt', num_tokens=20)))
