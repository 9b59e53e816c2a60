# Converged linear probe (L-BFGS, L2 chosen on validation), on Stanford Dogs, supervised
# ImageNet-21k ViT-B/16.
# Published: no figure of this method, task and backbone known to us.
# Protocol: FGVC, train on train, select on val; fits once.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: python tools/train.py configs/baselines/linear-converged_vit-base-p16_in21k_dogs.py
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/probe_lbfgs.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=120))
train_dataloader = dict(dataset=dict(name='dogs'))
val_dataloader = dict(dataset=dict(name='dogs'))
test_dataloader = dict(dataset=dict(name='dogs'))
