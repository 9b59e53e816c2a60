# Tuning on Fashion-MNIST 1k: AdamW, 8 epochs, per-iteration warm-up and cosine to zero.
# lr is chosen for each method on the validation split, see suites/fashion1k.py.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.0),
)
param_scheduler = dict(
    type='mmvpt.WarmupCosineLR', warmup=1, by_epoch=True, convert_to_iter_based=True
)

train_cfg = dict(by_epoch=True, max_epochs=8, val_interval=8)
val_cfg = dict()
test_cfg = dict()
