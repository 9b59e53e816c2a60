# What DA-VPT+ can use on Fashion-MNIST 1k: one change at a time, three seeds, validation
# images only.
# Run: python tools/search.py configs/davpt/davpt-plus_vit-mini_fashion1k.py
#   --space configs/search/fashion1k_davpt.py --protocol own
_lr = 'optim_wrapper.optimizer.lr'
_hook = 'default_hooks.metric_guidance'
_prompt = 'model.backbone.prompt'
_base = {
    _lr: 0.03,
    f'{_hook}.visual_weight': 0.03,
    'train_cfg.max_epochs': 10,
    'train_cfg.val_interval': 10,
}
_changes = [
    {},
    {f'{_hook}.visual_weight': 1e-9, f'{_hook}.cls_weight': 1e-9},  # no guidance
    {_lr: 0.1},
    {'train_cfg.max_epochs': 20, 'train_cfg.val_interval': 20},
    {f'{_prompt}.num_guided_tokens': 10},  # one per class
    {f'{_prompt}.guided_layers': [-3, -2, -1]},
    {f'{_hook}.visual_weight': 1.0, f'{_hook}.cls_weight': 1.0},
    {
        'train_dataloader.batch_sampler.type': 'mmvpt.ClassBalancedBatchSampler',
        'train_dataloader.batch_sampler.samples_per_class': 4,
    },
    {f'{_hook}.released': True},  # operands as in the released code
]

space = {
    'change': [{**_base, **change} for change in _changes],
    'randomness.seed': [0, 1, 2],
}
