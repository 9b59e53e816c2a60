# Rein's recipe (https://arxiv.org/abs/2312.04265, released configs): AdamW, lr 1e-4,
# 40,000 iterations, poly to zero; weight decay 0.05 on linear maps, none on tokens, the
# scale, norms and query embeddings. Four images on one GPU.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=0.0001, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={
            'backbone.prompt.token_rows': dict(decay_mult=0.0),
            'backbone.prompt.token_basis': dict(decay_mult=0.0),
            'backbone.prompt.scale': dict(decay_mult=0.0),
        },
    ),
)

param_scheduler = dict(
    type='PolyLR', power=0.9, eta_min=0, begin=0, end=40000, by_epoch=False
)

train_cfg = dict(type='IterBasedTrainLoop', max_iters=40000, val_interval=4000)
