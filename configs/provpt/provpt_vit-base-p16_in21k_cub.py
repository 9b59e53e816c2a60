# PRO-VPT on CUB-200-2011, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2503.06901 and its released code.
# Published: mean of the five FGVC tasks 91.7.
# Protocol: FGVC, train on train, select on val.
# num_tokens, lr and weight_decay are those of run.sh for CIFAR-100; sweep lr and
# weight_decay on val.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/provpt/provpt_vit-base-p16_in21k_cub.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/provpt_sgd_100e.py',
    '../_base_/provpt_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='RelocatedPrompt', drop_rate=0.1, num_tokens=20)),
    head=dict(num_classes=200),
)
optim_wrapper = dict(optimizer=dict(lr=2.5, weight_decay=0.0001))
