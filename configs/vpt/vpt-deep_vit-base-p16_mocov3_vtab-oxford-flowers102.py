# VPT-deep on Oxford Flowers-102 of VTAB-1k, MoCo v3 ViT-B/16.
# Source: https://arxiv.org/abs/2203.12119, supplementary tables.
# Published: mean of the 7 Natural tasks 70.27 (trained on all 1,000 images, mean of 5
# seeds).
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# num_tokens is that of the supervised ViT, for want of a published one; sweep lr and
# weight_decay on val (see the schedule).
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vpt/vpt-deep_vit-base-p16_mocov3_vtab-oxford-flowers102.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mocov3.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='DeepPrompt', num_tokens=1, drop_rate=0.1),
        pooling='cls',
        final_norm='pretrained',
    ),
    head=dict(num_classes=102),
)
train_dataloader = dict(batch_size=128, dataset=dict(task='oxford_flowers102'))
val_dataloader = dict(dataset=dict(task='oxford_flowers102'))
test_dataloader = dict(dataset=dict(task='oxford_flowers102'))
