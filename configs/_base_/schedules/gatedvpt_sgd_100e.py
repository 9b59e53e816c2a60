# The recipe of Gated Prompt Tuning (https://arxiv.org/abs/2306.05067, released code):
# SGD without weight decay, the same learning rate for prompts, gates, temperatures and
# head, used as it is (not scaled with the batch, unlike VPT's); 100 epochs, ten of them
# warm-up from zero, stepped once per epoch, so the first epoch trains nothing. The
# model of the last epoch counts. To warm up by iteration instead, add
# `convert_to_iter_based=True` to the scheduler. lr is per task (Table 5).
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.0),
)

param_scheduler = dict(type='mmvpt.WarmupCosineLR', warmup=10, by_epoch=True)

train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()
