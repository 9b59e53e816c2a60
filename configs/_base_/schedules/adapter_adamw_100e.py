# The one recipe of Adapter+ (https://arxiv.org/abs/2406.06820) for every task: AdamW,
# lr 1e-3, weight decay 1e-4, batch 64, 100 epochs, ten of them warm-up, cosine. LoRA and
# SSF train with it too, so that adapters differ in nothing else.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.0001),
    paramwise_cfg=dict(flat_decay_mult=0.0),  # none on biases and scales
)
auto_scale_lr = dict(enable=True, base_batch_size=64)

param_scheduler = dict(
    type='mmvpt.WarmupCosineLR', warmup=10, by_epoch=True, convert_to_iter_based=True
)

train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()
