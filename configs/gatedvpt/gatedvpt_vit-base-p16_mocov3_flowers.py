# Gated Prompt Tuning on Oxford Flowers-102, MoCo v3 ViT-B/16.
# Source: https://arxiv.org/abs/2306.05067, Tables 1 and 5.
# Published: top-1 93.71, mean of the five FGVC tasks 83.00 (one seed).
# Protocol: FGVC, train on train, select on val.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/gatedvpt/gatedvpt_vit-base-p16_mocov3_flowers.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mocov3.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/gatedvpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='GatedPrompt', num_tokens=100, gate_init=10, drop_rate=0.1),
        pooling='cls',
        final_norm='pretrained',
    ),
    head=dict(num_classes=102),
)
train_dataloader = dict(dataset=dict(name='flowers'))
val_dataloader = dict(dataset=dict(name='flowers'))
test_dataloader = dict(dataset=dict(name='flowers'))
optim_wrapper = dict(optimizer=dict(lr=1.0))
