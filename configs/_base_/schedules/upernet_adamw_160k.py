# The recipe of mmsegmentation's UPerNet on ViT-B: AdamW, 1,500 iterations of warm-up,
# then linear decay, batch 16. There the whole network trains with 6e-5. What is new to
# a pretrained ViT, heads and prompts, trains ten times faster; so do tuned biases. Full
# fine-tuning takes the ViT back to 6e-5. No paper has prompts with this decoder: sweep
# lr and weight_decay before you compare.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='mmvpt.TunedOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=6e-4, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, end=1500, by_epoch=False),
    dict(type='PolyLR', eta_min=0.0, power=1.0, begin=1500, end=160000, by_epoch=False),
]

train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)

# 8 GPUs with 2 images each
auto_scale_lr = dict(enable=False, base_batch_size=16)
