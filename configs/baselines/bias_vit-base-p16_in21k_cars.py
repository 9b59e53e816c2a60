# Bias tuning (BitFit), on Stanford Cars, supervised ImageNet-21k ViT-B/16.
# Published: no figure of this method, task and backbone known to us.
# Protocol: FGVC, train on train, select on val; lr and weight_decay are swept on val.
# Written by tools/zoo.py from the tables in mmvpt/zoo/data.
# Run: bash tools/dist_train.sh configs/baselines/bias_vit-base-p16_in21k_cars.py 1
_base_ = [
    '../_base_/models/vit-base-p16_in21k.py',
    '../_base_/datasets/fgvc.py',
    '../_base_/schedules/vpt_sgd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(tunable='bias'), head=dict(num_classes=196))
train_dataloader = dict(dataset=dict(name='cars'))
val_dataloader = dict(dataset=dict(name='cars'))
test_dataloader = dict(dataset=dict(name='cars'))
