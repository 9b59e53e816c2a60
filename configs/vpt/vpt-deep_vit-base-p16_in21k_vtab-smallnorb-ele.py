# VPT-deep on smallNORB elevation of VTAB-1k, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2203.12119, supplementary tables.
# Published: top-1 37.8, mean of the 8 Structured tasks 54.98 (trained on all 1,000
# images, mean of 5 seeds).
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# num_tokens as the paper chose for this task; sweep lr and weight_decay on val (see the
# schedule).
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vpt/vpt-deep_vit-base-p16_in21k_vtab-smallnorb-ele.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='DeepPrompt', num_tokens=200, drop_rate=0.1)),
    head=dict(num_classes=9),
)
train_dataloader = dict(dataset=dict(task='smallnorb_ele'))
val_dataloader = dict(dataset=dict(task='smallnorb_ele'))
test_dataloader = dict(dataset=dict(task='smallnorb_ele'))
