# Gated Prompt Tuning on ADE20K, SETR-PUP, MAE ViT-B/16.
# Source: https://arxiv.org/abs/2306.05067, Tables 3 and 5.
# Published: mIoU 38.44 single-scale, 39.81 multi-scale.
# Two auxiliary heads, at the 5th and 9th layer.
# Run: bash tools/dist_train.sh configs/gatedvpt/gatedvpt_setr-pup-vit-base-p16-mae_ade20k.py 8
_base_ = [
    '../_base_/models/setr-pup_vit-base-p16_mae.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/setr_sgd_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='GatedPrompt', num_tokens=100, gate_init=10))
)
