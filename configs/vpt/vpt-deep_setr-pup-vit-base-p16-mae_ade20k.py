# VPT-deep on ADE20K, SETR-PUP, MAE ViT-B/16.
# Source: https://arxiv.org/abs/2306.05067, Tables 3 and 5.
# Published: mIoU 37.76 single-scale, 38.80 multi-scale (Gated Prompt Tuning paper).
# 10 prompts for each layer, about the 100 of the other methods there. Learning rate as
# stated for Gated Prompt Tuning.
# Run: bash tools/dist_train.sh configs/vpt/vpt-deep_setr-pup-vit-base-p16-mae_ade20k.py 8
_base_ = [
    '../_base_/models/setr-pup_vit-base-p16_mae.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/setr_sgd_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(backbone=dict(prompt=dict(type='DeepPrompt', num_tokens=10)))
