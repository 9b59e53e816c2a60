# VPT-deep with PAE on CIFAR-100 of VTAB-1k, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2601.20232 and its released code.
# Published: mean of the 7 Natural tasks 81.73.
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# num_tokens, lr and weight_decay are those of run.sh for CUB; sweep them on val.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/pae/pae_vit-base-p16_in21k_vtab-cifar100.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='EvolvingPrompt', drop_rate=0.1, num_tokens=20)),
    head=dict(num_classes=100),
)
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=0.25, weight_decay=0.001))
auto_scale_lr = dict(enable=False)
