# PRO-VPT on CIFAR-100 of VTAB-1k, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2503.06901 and its released code.
# Published: mean of the 7 Natural tasks 83.3.
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# num_tokens, lr and weight_decay as in run.sh of the code.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/provpt/provpt_vit-base-p16_in21k_vtab-cifar100.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/provpt_sgd_100e.py',
    '../_base_/provpt_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='RelocatedPrompt', drop_rate=0.1, num_tokens=20)),
    head=dict(num_classes=100),
)
optim_wrapper = dict(optimizer=dict(lr=2.5, weight_decay=0.0001))
