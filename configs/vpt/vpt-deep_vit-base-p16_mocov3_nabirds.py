# VPT-deep on NABirds, MoCo v3 ViT-B/16.
# Source: https://arxiv.org/abs/2306.05067, Table 1.
# Published: top-1 75.99, mean of the five FGVC tasks 83.12 (one seed).
# Protocol: FGVC, train on train, select on val.
# num_tokens is the table's; its recipe is not released: sweep lr and weight_decay on
# val (see the schedule).
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vpt/vpt-deep_vit-base-p16_mocov3_nabirds.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mocov3.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='DeepPrompt', num_tokens=10, drop_rate=0.1),
        pooling='cls',
        final_norm='pretrained',
    ),
    head=dict(num_classes=555),
)
train_dataloader = dict(batch_size=128, dataset=dict(name='nabirds'))
val_dataloader = dict(dataset=dict(name='nabirds'))
test_dataloader = dict(dataset=dict(name='nabirds'))
