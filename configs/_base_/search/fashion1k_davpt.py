# What DA-VPT+ can use on Fashion-MNIST 1k: one change at a time, three seeds, validation
# images only.
seeds = [0, 1, 2]
test = False

_config = 'configs/davpt/davpt-plus_vit-mini_fashion1k.py'
_hook = 'custom_hooks.1'
_prompt = 'model.backbone.prompt'
_base = {'optim_wrapper.optimizer.lr': [0.03], f'{_hook}.visual_weight': [0.03]}
_changes = {
    'as it is': {},
    'no guidance': {f'{_hook}.visual_weight': [1e-9], f'{_hook}.cls_weight': [1e-9]},
    'lr 0.1': {'optim_wrapper.optimizer.lr': [0.1]},
    '20 epochs': {'train_cfg.max_epochs': [20], 'train_cfg.val_interval': [20]},
    '10 guided prompts, one per class': {f'{_prompt}.num_guided_tokens': [10]},
    'last three layers guided': {f'{_prompt}.guided_layers': ['[-3,-2,-1]']},
    'weights 1': {f'{_hook}.visual_weight': [1.0], f'{_hook}.cls_weight': [1.0]},
    'class-balanced batches': {
        'train_dataloader.batch_sampler.type': ['mmvpt.ClassBalancedBatchSampler'],
        'train_dataloader.batch_sampler.samples_per_class': [4],
    },
    'released operands': {f'{_hook}.released': [True]},
}
methods = {
    name: dict(config=_config, grid={**_base, **change})
    for name, change in _changes.items()
}
