# Tuning on 1,000 photographs: AdamW, 3 epochs, 10 iterations of warm-up, cosine to zero,
# bfloat16 as mixed precision. The head has one learning rate for all methods, where it
# does best alone; the factor of what is tuned in the backbone is chosen for each method
# on the validation split, see configs/suites/cub100_1k.py.
optim_wrapper = dict(
    type='mmvpt.AutocastOptimWrapper',
    dtype='bfloat16',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.0),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=1.0))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10),
    dict(
        type='CosineAnnealingLR',
        T_max=3,
        begin=0,
        end=3,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=3)
val_cfg = dict(fp16=True)
test_cfg = dict(fp16=True)
