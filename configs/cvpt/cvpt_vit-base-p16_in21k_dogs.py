# CVPT on Stanford Dogs, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2408.14961 and its released code.
# Published: mean of the five FGVC tasks 90.5.
# Protocol: FGVC, train on train, select on val.
# num_tokens and lr as released, for FGVC weight_decay and batch size too; for VTAB-1k
# those that its code really uses.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/cvpt/cvpt_vit-base-p16_in21k_dogs.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/cvpt_adamw_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='CrossPrompt', num_tokens=10), drop_path_rate=0.1),
    head=dict(num_classes=120),
)
train_dataloader = dict(batch_size=16, dataset=dict(name='dogs'))
val_dataloader = dict(dataset=dict(name='dogs'))
test_dataloader = dict(dataset=dict(name='dogs'))
optim_wrapper = dict(optimizer=dict(lr=0.0002, weight_decay=1e-05))
