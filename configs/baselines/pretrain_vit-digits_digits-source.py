# Pretraining of the demo's small ViT from scratch: digits 0-4 in four rotations.
# Run: python tools/train.py configs/baselines/pretrain_vit-digits_digits-source.py
_base_ = [
    '../_base_/models/vit-digits.py',
    '../_base_/datasets/digits_source.py',
    '../_base_/schedules/digits_adamw_30e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(tunable='full', init_cfg=None),
    neck=None,
    head=dict(num_classes=20),
)
optim_wrapper = dict(optimizer=dict(lr=0.001, weight_decay=0.05))
param_scheduler = dict(warmup=1)
train_cfg = dict(max_epochs=15, val_interval=15)
