# Head with hidden layers (VPT's MLP baseline), on Stanford Cars, supervised
# ImageNet-21k ViT-B/16.
# Published: no figure of this method, task and backbone known to us.
# Protocol: FGVC, train on train, select on val; lr and weight_decay are swept on val.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/baselines/mlp_vit-base-p16_in21k_cars.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    head=dict(
        _delete_=True,
        type='StackedLinearClsHead',
        num_classes=196,
        in_channels=768,
        mid_channels=[768, 768],
        act_cfg=dict(type='ReLU'),
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    )
)
train_dataloader = dict(dataset=dict(name='cars'))
val_dataloader = dict(dataset=dict(name='cars'))
test_dataloader = dict(dataset=dict(name='cars'))
optim_wrapper = dict(paramwise_cfg=None)
