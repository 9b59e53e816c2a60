# Head with hidden layers (VPT's MLP baseline), on Caltech101 of VTAB-1k, supervised
# ImageNet-21k ViT-B/16.
# Published: no figure of this method, task and backbone known to us.
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md); lr and weight_decay are swept on val.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/baselines/mlp_vit-base-p16_in21k_vtab-caltech101.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    head=dict(
        _delete_=True,
        type='StackedLinearClsHead',
        num_classes=102,
        in_channels=768,
        mid_channels=[768, 768],
        act_cfg=dict(type='ReLU'),
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    )
)
train_dataloader = dict(dataset=dict(task='caltech101'))
val_dataloader = dict(dataset=dict(task='caltech101'))
test_dataloader = dict(dataset=dict(task='caltech101'))
optim_wrapper = dict(paramwise_cfg=None)
