# E2VPT on smallNORB elevation of VTAB-1k, supervised ImageNet-21k ViT-B/16.
# Source: https://arxiv.org/abs/2307.13770 and its released code.
# Published: mean of the 8 Structured tasks 57.39.
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md).
# num_tokens and num_key_values as released; sweep lr and weight_decay on val (see the
# schedule), then prune and retrain with tools/prune.py.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/e2vpt/e2vpt_vit-base-p16_in21k_vtab-smallnorb-ele.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(prompt=dict(type='KeyValuePrompt', num_tokens=10, num_key_values=5)),
    head=dict(num_classes=9),
)
train_dataloader = dict(dataset=dict(task='smallnorb_ele'))
val_dataloader = dict(dataset=dict(task='smallnorb_ele'))
test_dataloader = dict(dataset=dict(task='smallnorb_ele'))
