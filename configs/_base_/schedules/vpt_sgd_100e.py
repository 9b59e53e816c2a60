# The protocol of VPT (https://arxiv.org/abs/2203.12119): SGD, 100 epochs, ten of them
# warm-up from zero, cosine to zero, stepped once per epoch. Choose lr and weight_decay
# on the validation split (the sweep is lr 50 ... 0.05, weight_decay 0.01 ... 0); the
# model of the last epoch counts. The test split is read by tools/test.py alone.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=5.0, momentum=0.9, weight_decay=0.001),
    # prompts decay as well; the bias of the head alone does not
    paramwise_cfg=dict(custom_keys={'head.fc.bias': dict(decay_mult=0.0)}),
)
# lr is meant for a batch of 256 and scaled to the real one
auto_scale_lr = dict(enable=True, base_batch_size=256)

param_scheduler = dict(type='mmvpt.WarmupCosineLR', warmup=10, by_epoch=True)

train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()
