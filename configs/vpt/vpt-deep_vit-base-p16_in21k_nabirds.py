# VPT-deep on NABirds, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2203.12119, supplementary tables.
# Published: top-1 84.2, mean of the five FGVC tasks 89.11.
# Protocol: FGVC, train on train, select on val.
# num_tokens as the paper chose for this task; sweep lr and weight_decay on val (see the
# schedule).
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vpt/vpt-deep_vit-base-p16_in21k_nabirds.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='DeepPrompt', num_tokens=50, drop_rate=0.1)),
    head=dict(num_classes=555),
)
train_dataloader = dict(batch_size=128, dataset=dict(name='nabirds'))
val_dataloader = dict(dataset=dict(name='nabirds'))
test_dataloader = dict(dataset=dict(name='nabirds'))
