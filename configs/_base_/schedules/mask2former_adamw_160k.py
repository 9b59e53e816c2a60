# The recipe of mmsegmentation's Mask2Former on ADE20K: AdamW, lr 1e-4, gradients clipped
# to a norm of 0.01, poly to zero, batch 16, queries and norms without decay. There the
# backbone trains ten times slower; what is tuned of a frozen one trains like the head.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={
            'query_embed': dict(decay_mult=0.0),
            'query_feat': dict(decay_mult=0.0),
            'level_embed': dict(decay_mult=0.0),
        },
    ),
    clip_grad=dict(max_norm=0.01, norm_type=2),
)
param_scheduler = [
    dict(type='PolyLR', eta_min=0.0, power=0.9, end=160000, by_epoch=False)
]

train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)

# 8 GPUs with 2 images each
auto_scale_lr = dict(enable=False, base_batch_size=16)
