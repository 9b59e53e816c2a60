# The demo's tuning: AdamW, 30 epochs, per-iteration warm-up and cosine to zero. The
# same learning rate for prompts and head, chosen on the validation images of three
# draws from 0.1, 0.03 and 0.01.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=0.03, weight_decay=0.0),
)
param_scheduler = dict(
    type='mmvpt.WarmupCosineLR', warmup=3, by_epoch=True, convert_to_iter_based=True
)

train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=30)
val_cfg = dict()
test_cfg = dict()
