# SA2VP on SUN397 of VTAB-1k, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2312.10376 and its released code.
# Published: mean of the 7 Natural tasks 80.97.
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# rank, scale, lr and batch size as its README gives them.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/sa2vp/sa2vp_vit-base-p16_in21k_vtab-sun397.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/sa2vp_adamw_100e.py',
    '../_base_/sa2vp_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='SpatialPrompt', rank=8)), head=dict(num_classes=397)
)
train_dataloader = dict(batch_size=40, dataset=dict(task='sun397'))
val_dataloader = dict(dataset=dict(task='sun397'))
test_dataloader = dict(dataset=dict(task='sun397'))
