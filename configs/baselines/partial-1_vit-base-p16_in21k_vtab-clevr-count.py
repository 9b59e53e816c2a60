# The last layer and the final norm, on Clevr count of VTAB-1k, supervised ImageNet-21k
# ViT-B/16.
# Published: no figure of this method, task and backbone known to us.
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md); lr and weight_decay are swept on val.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/baselines/partial-1_vit-base-p16_in21k_vtab-clevr-count.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(tunable='partial-1'), head=dict(num_classes=8))
train_dataloader = dict(dataset=dict(task='clevr_count'))
val_dataloader = dict(dataset=dict(task='clevr_count'))
test_dataloader = dict(dataset=dict(task='clevr_count'))
