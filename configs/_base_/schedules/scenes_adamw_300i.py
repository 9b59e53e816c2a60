# The segmentation demo's tuning: AdamW, 300 iterations, warm-up and cosine to zero. One
# learning rate for prompts and head; what was tried is in docs/results.md.
_base_ = ['../segmentation_runtime.py']

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.0),
)
param_scheduler = dict(type='mmvpt.WarmupCosineLR', warmup=20, by_epoch=False)

train_cfg = dict(type='IterBasedTrainLoop', max_iters=300, val_interval=300)
# The last checkpoint alone: nothing is selected within a run.
default_hooks = dict(checkpoint=dict(save_best=None))
