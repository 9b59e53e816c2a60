# Gated Prompt Tuning on CUB-200-2011, MoCo v3 ViT-B/16.
# Source: https://arxiv.org/abs/2306.05067, Tables 1 and 5.
# Published: top-1 82.86, mean of the five FGVC tasks 83.00 (one seed).
# Protocol: FGVC, train on train, select on val.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/gatedvpt/gatedvpt_vit-base-p16_mocov3_cub.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mocov3.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/gatedvpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='GatedPrompt', num_tokens=100, gate_init=5, drop_rate=0.1),
        pooling='cls',
        final_norm='pretrained',
    ),
    head=dict(num_classes=200),
)
optim_wrapper = dict(optimizer=dict(lr=1.0))
