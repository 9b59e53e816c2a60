# VPT-shallow on Diabetic Retinopathy of VTAB-1k, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2203.12119, supplementary tables.
# Published: top-1 72.9, mean of the 4 Specialized tasks 79.66 (trained on all 1,000
# images, mean of 5 seeds).
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# num_tokens is a placeholder: sweep it too; sweep lr and weight_decay on val (see the
# schedule).
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vpt/vpt-shallow_vit-base-p16_in21k_vtab-retinopathy.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='ShallowPrompt', num_tokens=10)),
    head=dict(num_classes=5),
)
train_dataloader = dict(batch_size=128, dataset=dict(task='retinopathy'))
val_dataloader = dict(dataset=dict(task='retinopathy'))
test_dataloader = dict(dataset=dict(task='retinopathy'))
