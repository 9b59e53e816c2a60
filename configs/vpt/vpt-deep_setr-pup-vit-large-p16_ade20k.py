# VPT-deep on ADE20K, SETR-PUP, ViT-L/16.
# Source: https://arxiv.org/abs/2505.23694, Table 2.
# Published: mIoU 44.08 single-scale, 46.01 multi-scale (DA-VPT paper; the VPT paper has
# 42.11 and 44.06 with about half the prompts).
# 20 prompts for each layer make the 13.6 M tuned parameters of Table 2 on ADE20K.
# Run: bash tools/dist_train.sh configs/vpt/vpt-deep_setr-pup-vit-large-p16_ade20k.py 8
_base_ = [
    '../_base_/models/setr-pup_vit-large-p16.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/setr_sgd_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(backbone=dict(prompt=dict(type='DeepPrompt', num_tokens=20)))
