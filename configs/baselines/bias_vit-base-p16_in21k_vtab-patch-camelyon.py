# Bias tuning (BitFit), on Patch Camelyon of VTAB-1k, supervised ImageNet-21k ViT-B/16.
# Published: no figure of this method, task and backbone known to us.
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md); lr and weight_decay are swept on val.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/baselines/bias_vit-base-p16_in21k_vtab-patch-camelyon.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(tunable='bias'), head=dict(num_classes=2))
train_dataloader = dict(dataset=dict(task='patch_camelyon'))
val_dataloader = dict(dataset=dict(task='patch_camelyon'))
val_evaluator = dict(topk=(1,))
test_dataloader = dict(dataset=dict(task='patch_camelyon'))
test_evaluator = dict(topk=(1,))
