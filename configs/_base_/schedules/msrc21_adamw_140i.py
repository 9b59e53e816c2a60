# MSRC-21 on a CPU: AdamW, 140 iterations (four epochs), warm-up and cosine to zero,
# bfloat16 as mixed precision. The factor of what is tuned in the backbone is chosen for
# each method on the validation images, see configs/suites/msrc21.py.
_base_ = ['../segmentation_runtime.py']

optim_wrapper = dict(
    type='mmvpt.AutocastOptimWrapper',
    dtype='bfloat16',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=0.003, weight_decay=0.0),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=1.0))),
)
param_scheduler = dict(type='mmvpt.WarmupCosineLR', warmup=14, by_epoch=False)

train_cfg = dict(type='IterBasedTrainLoop', max_iters=140, val_interval=140)
# The last checkpoint alone: nothing is selected within a run.
default_hooks = dict(checkpoint=dict(save_best=None))
