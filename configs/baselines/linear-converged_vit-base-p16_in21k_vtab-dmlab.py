# Converged linear probe (L-BFGS, L2 chosen on validation), on DMLab of VTAB-1k,
# supervised ImageNet-21k ViT-B/16.
# Published: no figure of this method, task and backbone known to us.
# Protocol: VTAB-1k, tune on train800, select on val200; the final model trains on all
# 1,000 images (docs/model_zoo.md); fits once.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: python tools/train.py configs/baselines/linear-converged_vit-base-p16_in21k_vtab-dmlab.py
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/vtab1k.py',
    '../_base_/schedules/probe_lbfgs.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=6))
train_dataloader = dict(dataset=dict(task='dmlab'))
val_dataloader = dict(dataset=dict(task='dmlab'))
test_dataloader = dict(dataset=dict(task='dmlab'))
