# CVPT's recipe (https://arxiv.org/abs/2408.14961, released code): AdamW that decays
# everything, prompts and the head's bias too; 10 of 100 epochs of warm-up from 1e-6,
# cosine to 1e-5, once per epoch; lr as it stands, whatever the batch. The release stays
# one epoch longer at 1e-6.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.05),
)

param_scheduler = dict(
    type='mmvpt.TimmCosineLR', warmup=10, warmup_lr=1e-6, eta_min=1e-5, by_epoch=True
)

train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict()
test_cfg = dict()
