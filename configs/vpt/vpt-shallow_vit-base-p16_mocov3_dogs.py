# VPT-shallow on Stanford Dogs, MoCo v3 ViT-B/16.
# Source: https://arxiv.org/abs/2306.05067, Table 1.
# Published: top-1 81.97, mean of the five FGVC tasks 79.26 (one seed).
# Protocol: FGVC, train on train, select on val.
# num_tokens is the table's; its recipe is not released: sweep lr and weight_decay on
# val (see the schedule).
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vpt/vpt-shallow_vit-base-p16_mocov3_dogs.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mocov3.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='ShallowPrompt', num_tokens=100),
        pooling='cls',
        final_norm='pretrained',
    ),
    head=dict(num_classes=120),
)
train_dataloader = dict(dataset=dict(name='dogs'))
val_dataloader = dict(dataset=dict(name='dogs'))
test_dataloader = dict(dataset=dict(name='dogs'))
