# Full fine-tuning in the protocol of VPT (https://arxiv.org/abs/2203.12119): AdamW
# (lr 0.005 ... 0.0001 per batch of 256, chosen on the validation split; the released
# code fixes weight_decay at 0.01), otherwise as vpt_sgd_100e.py.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=0.0005, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys={'head.fc.bias': dict(decay_mult=0.0)}),
)
auto_scale_lr = dict(enable=True, base_batch_size=256)

param_scheduler = dict(type='mmvpt.WarmupCosineLR', warmup=10, by_epoch=True)

train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()
