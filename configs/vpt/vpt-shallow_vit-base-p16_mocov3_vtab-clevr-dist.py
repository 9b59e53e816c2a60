# VPT-shallow on Clevr distance of VTAB-1k, MoCo v3 ViT-B/16.
# Source: https://arxiv.org/abs/2203.12119, supplementary tables.
# Published: mean of the 8 Structured tasks 37.55 (trained on all 1,000 images, mean of
# 5 seeds).
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# num_tokens is that of the supervised ViT, for want of a published one; sweep lr and
# weight_decay on val (see the schedule).
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vpt/vpt-shallow_vit-base-p16_mocov3_vtab-clevr-dist.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mocov3.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='ShallowPrompt', num_tokens=10),
        pooling='cls',
        final_norm='pretrained',
    ),
    head=dict(num_classes=6),
)
train_dataloader = dict(batch_size=128, dataset=dict(task='clevr_dist'))
val_dataloader = dict(dataset=dict(task='clevr_dist'))
test_dataloader = dict(dataset=dict(task='clevr_dist'))
