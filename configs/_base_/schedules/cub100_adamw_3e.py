# Tuning on 1,000 photographs: AdamW, 3 epochs, per-iteration warm-up and cosine to
# zero, bfloat16 as mixed precision. lr is chosen for each method on the validation
# split, see configs/suites/cub100_1k.py.
optim_wrapper = dict(
    type='mmvpt.AutocastOptimWrapper',
    dtype='bfloat16',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.0),
)
param_scheduler = dict(
    type='mmvpt.WarmupCosineLR', warmup=1, by_epoch=True, convert_to_iter_based=True
)

train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=3)
val_cfg = dict(fp16=True)
test_cfg = dict(fp16=True)
