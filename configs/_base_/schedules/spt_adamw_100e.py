# The recipe of SPT (https://arxiv.org/abs/2402.02382) and BPT
# (https://arxiv.org/abs/2506.22908), released code: AdamW, 10 of 100 epochs of warm-up from
# zero, cosine per iteration (theirs ends at 1e-8, ours at 0). No decay for biases and
# anything with one dimension, weight_decay for prompts, decay_mult times that for the weight
# of the head (here 0.01 and 0.5, the values of SPT for CUB and MAE). lr is not scaled by
# the batch, which is 32 over all processes.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=0.05, weight_decay=0.01),
    paramwise_cfg=dict(
        bias_decay_mult=0.0,
        norm_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={'head.fc.weight': dict(decay_mult=50.0)},
    ),
)
param_scheduler = dict(
    type='mmvpt.WarmupCosineLR', warmup=10, by_epoch=True, convert_to_iter_based=True
)

train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()
