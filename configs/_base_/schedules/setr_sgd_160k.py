# SETR's recipe for ADE20K in mmsegmentation, used by VPT, Gated Prompt Tuning and DA-VPT:
# SGD without weight decay, heads ten times faster than prompts and backbone, batch 16.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.001, momentum=0.9, weight_decay=0.0),
    paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=10.0)}),
)
param_scheduler = [
    dict(type='PolyLR', eta_min=1e-4, power=0.9, end=160000, by_epoch=False)
]

train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)

# 8 GPUs with 2 images each
auto_scale_lr = dict(enable=False, base_batch_size=16)
