# BPT-bilinear, shallow on Stanford Cars, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2506.22908 and its released code.
# Published: no figure of this method, task and backbone known to us.
# Protocol: FGVC, train on train, select on val.
# num_tokens, rank, lr and decays as in the README of the code.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/bpt/bpt-shallow_vit-base-p16_in21k_cars.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc_resized_crops.py',
    '../_base_/schedules/spt_adamw_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='BilinearPrompt', depth='shallow', num_tokens=100, rank=75)
    ),
    head=dict(
        num_classes=196,
        init_cfg=dict(
            _delete_=True, type='TruncNormal', layer='Linear', bias=0, std=0.02
        ),
    ),
)
train_dataloader = dict(batch_size=32, dataset=dict(name='cars'))
val_dataloader = dict(dataset=dict(name='cars'))
test_dataloader = dict(dataset=dict(name='cars'))
optim_wrapper = dict(
    optimizer=dict(lr=0.02, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys={'head.fc.weight': dict(decay_mult=300.0)}),
)
