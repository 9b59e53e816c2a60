# DA-VPT's recipe (https://arxiv.org/abs/2505.23694, released code): AdamW, gradients
# clipped by value, 10 of 100 epochs of warm-up, cosine per iteration. Decay in three
# groups: none for biases and anything with one dimension, weight_decay for prompts,
# decay_mult times that for the weight of the head (here 0.05 and 5, the values of
# the released CUB config). lr, both decays and the loss weights are per task.
# Where the class token trains (DA-VPT+), the released code decays it as well; to spare
# it add custom_keys={'cls_token': dict(decay_mult=0.0)}.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=0.0005, weight_decay=0.05),
    paramwise_cfg=dict(
        bias_decay_mult=0.0,
        norm_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={'head.fc.weight': dict(decay_mult=100.0)},
    ),
    clip_grad=dict(type='value', clip_value=10.0),
)

param_scheduler = dict(
    type='mmvpt.TimmCosineLR',
    warmup=10,
    warmup_lr=1e-8,
    eta_min=1e-9,
    by_epoch=True,
    convert_to_iter_based=True,
)

train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()
