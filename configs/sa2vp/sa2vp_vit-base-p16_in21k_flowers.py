# SA2VP on Oxford Flowers-102, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2312.10376 and its released code.
# Published: mean of the five FGVC tasks 90.08.
# Protocol: FGVC, train on train, select on val.
# rank, scale, lr and batch size as its README gives them.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/sa2vp/sa2vp_vit-base-p16_in21k_flowers.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/sa2vp_adamw_100e.py',
    '../_base_/sa2vp_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='SpatialPrompt', rank=8)), head=dict(num_classes=102)
)
train_dataloader = dict(dataset=dict(name='flowers'))
val_dataloader = dict(dataset=dict(name='flowers'))
test_dataloader = dict(dataset=dict(name='flowers'))
