# VPT-deep with PAE on CUB-200-2011, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2601.20232 and its released code.
# Published: mean of the five FGVC tasks 91.02.
# Protocol: FGVC, train on train, select on val.
# num_tokens, lr and weight_decay as in run.sh of the code.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/pae/pae_vit-base-p16_in21k_cub.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='EvolvingPrompt', drop_rate=0.1, num_tokens=20)),
    head=dict(num_classes=200),
)
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=0.25, weight_decay=0.001))
auto_scale_lr = dict(enable=False)
