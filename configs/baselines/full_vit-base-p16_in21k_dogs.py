# Full fine-tuning, on Stanford Dogs, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2203.12119, supplementary tables.
# Published: mean of the five FGVC tasks 88.54.
# Protocol: FGVC, train on train, select on val; lr and weight_decay are swept on val.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/baselines/full_vit-base-p16_in21k_dogs.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/adamw_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(tunable='full'), head=dict(num_classes=120))
train_dataloader = dict(dataset=dict(name='dogs'))
val_dataloader = dict(dataset=dict(name='dogs'))
test_dataloader = dict(dataset=dict(name='dogs'))
