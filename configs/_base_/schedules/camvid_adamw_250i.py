# CamVid on a CPU: AdamW, 250 iterations, warm-up and cosine to zero.
_base_ = ['../segmentation_runtime.py']

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=0.003, weight_decay=0.0),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=1.0))),
)
param_scheduler = dict(type='mmvpt.WarmupCosineLR', warmup=20, by_epoch=False)

train_cfg = dict(type='IterBasedTrainLoop', max_iters=250, val_interval=250)
# The last checkpoint alone: nothing is selected within a run.
default_hooks = dict(checkpoint=dict(save_best=None))
