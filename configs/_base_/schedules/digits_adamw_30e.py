# The demo's tuning: AdamW, 30 epochs, per-iteration warm-up and cosine to zero. One
# learning rate for prompts and head; 0.01, 0.03 and 0.1 were tried (docs/results.md).
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
