# VPT-shallow on Stanford Cars, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2203.12119, supplementary tables.
# Published: mean of the five FGVC tasks 84.62.
# Protocol: FGVC, train on train, select on val.
# num_tokens is a placeholder: sweep it too; sweep lr and weight_decay on val (see the
# schedule).
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vpt/vpt-shallow_vit-base-p16_in21k_cars.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='ShallowPrompt', num_tokens=10)),
    head=dict(num_classes=196),
)
train_dataloader = dict(batch_size=128, dataset=dict(name='cars'))
val_dataloader = dict(dataset=dict(name='cars'))
test_dataloader = dict(dataset=dict(name='cars'))
