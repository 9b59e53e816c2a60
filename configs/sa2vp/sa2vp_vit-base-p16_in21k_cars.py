# SA2VP on Stanford Cars, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2312.10376 and its released code.
# Published: mean of the five FGVC tasks 90.08.
# Protocol: FGVC, train on train, select on val.
# rank, scale, lr and batch size as its README gives them.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/sa2vp/sa2vp_vit-base-p16_in21k_cars.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/sa2vp_adamw_100e.py',
    '../_base_/sa2vp_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='SpatialPrompt', rank=64, scale=1.5)),
    head=dict(num_classes=196),
)
train_dataloader = dict(dataset=dict(name='cars'))
val_dataloader = dict(dataset=dict(name='cars'))
test_dataloader = dict(dataset=dict(name='cars'))
