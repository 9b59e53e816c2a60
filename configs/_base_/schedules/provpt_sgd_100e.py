# The recipe of PRO-VPT (https://arxiv.org/abs/2503.06901), released run.sh: SGD with a
# constant learning rate, gradients of head and prompts clipped to norm 0.25. lr is used as
# it is; the code's tune scripts scale it by batch / 256. It documents no number of epochs;
# 100 is that of VPT, from which it comes.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=2.5, momentum=0.9, weight_decay=0.0001),
    paramwise_cfg=dict(custom_keys={'head.fc.bias': dict(decay_mult=0.0)}),
    clip_grad=dict(max_norm=0.25),
)
auto_scale_lr = dict(enable=False, base_batch_size=256)

train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()
