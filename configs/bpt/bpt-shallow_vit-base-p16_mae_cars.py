# BPT-bilinear, shallow on Stanford Cars, MAE ViT-B/16.
# Source: https://arxiv.org/abs/2506.22908 and its released code.
# Published: top-1 79.77, mean of the five FGVC tasks 80.39.
# Protocol: FGVC, train on train, select on val.
# num_tokens, rank, lr and decays as in the README of the code.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/bpt/bpt-shallow_vit-base-p16_mae_cars.py 1
_base_ = [
    '../_base_/models/vit-base-p16_mae.py',
    '../_base_/datasets/fgvc_resized_crops.py',
    '../_base_/schedules/spt_adamw_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='BilinearPrompt', depth='shallow', num_tokens=100, rank=75),
        pooling='prompts_and_patches',
        norm_before_pool=False,
        final_norm='pretrained',
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
    optimizer=dict(lr=0.05, weight_decay=0.002),
    paramwise_cfg=dict(custom_keys={'head.fc.weight': dict(decay_mult=50.0)}),
)
