# VAPT on Stanford Dogs, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2501.18936 and its released code.
# Published: mean of the five FGVC tasks 89.58.
# Protocol: FGVC, train on train, select on val.
# lr and weight_decay are those of the released config, which chose them on test images;
# num_tokens is not recorded there.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/vapt/vapt_vit-base-p16_in21k_dogs.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        prompt=dict(type='AdaptivePrompt', num_tokens=10, init='released'),
        pooling='cls',
        final_norm='pretrained',
    ),
    head=dict(num_classes=120),
)
train_dataloader = dict(dataset=dict(name='dogs'))
val_dataloader = dict(dataset=dict(name='dogs'))
test_dataloader = dict(dataset=dict(name='dogs'))
optim_wrapper = dict(optimizer=dict(lr=25.0, weight_decay=0.001))
