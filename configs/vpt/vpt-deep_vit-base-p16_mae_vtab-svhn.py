# VPT-deep on SVHN of VTAB-1k, MAE ViT-B/16.
# Source: https://arxiv.org/abs/2203.12119, supplementary tables.
# Published: mean of the 7 Natural tasks 36.02 (trained on all 1,000 images, mean of 5
# seeds).
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# num_tokens is that of the supervised ViT, for want of a published one; sweep lr and
# weight_decay on val (see the schedule).
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vpt/vpt-deep_vit-base-p16_mae_vtab-svhn.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mae.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='DeepPrompt', num_tokens=50, drop_rate=0.1),
        pooling='prompts_and_patches',
        norm_before_pool=False,
        final_norm='fresh-frozen',
    ),
    head=dict(num_classes=10),
)
train_dataloader = dict(batch_size=128, dataset=dict(task='svhn'))
val_dataloader = dict(dataset=dict(task='svhn'))
test_dataloader = dict(dataset=dict(task='svhn'))
