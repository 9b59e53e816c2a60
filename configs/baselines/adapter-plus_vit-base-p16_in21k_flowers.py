# Adapter+, width 8, on Oxford Flowers-102, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2406.06820, abstract (trained on train and val).
# Published: mean of the five FGVC tasks 90.7.
# Protocol: FGVC, train on train, select on val; one recipe for all tasks, nothing is
# swept.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/baselines/adapter-plus_vit-base-p16_in21k_flowers.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/adapter_adamw_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        drop_path_rate=0.1, adapter=dict(type='AdapterPlus', rank=8, drop_path_rate=0.1)
    ),
    head=dict(num_classes=102),
)
train_dataloader = dict(dataset=dict(name='flowers'))
val_dataloader = dict(dataset=dict(name='flowers'))
test_dataloader = dict(dataset=dict(name='flowers'))
