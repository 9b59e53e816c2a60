# What tools/study.py compares on Fashion-MNIST 1k: four settings for each method, chosen
# on val200, then five seeds. The converged probe chooses its L2 strength by itself.
seeds = [0, 1, 2, 3, 4]

_lr = {'optim_wrapper.optimizer.lr': [0.01, 0.03]}
_prompt = 'model.backbone.prompt'
_weights = {'custom_hooks.1.visual_weight': [0.03, 0.3]}

methods = {
    'linear probe, converged': dict(
        config='configs/baselines/linear-converged_vit-mini_fashion1k.py'
    ),
    'VPT-deep': dict(
        config='configs/vpt/vpt-deep_vit-mini_fashion1k.py',
        grid={**_lr, f'{_prompt}.num_tokens': [10, 20]},
    ),
    'DA-VPT': dict(
        config='configs/davpt/davpt_vit-mini_fashion1k.py', grid={**_lr, **_weights}
    ),
    'DA-VPT+': dict(
        config='configs/davpt/davpt-plus_vit-mini_fashion1k.py',
        grid={**_lr, **_weights},
    ),
    'Gated': dict(
        config='configs/gatedvpt/gatedvpt_vit-mini_fashion1k.py',
        grid={**_lr, f'{_prompt}.gate_init': [1, 5]},
    ),
    'VAPT': dict(
        config='configs/vapt/vapt_vit-mini_fashion1k.py',
        grid={**_lr, f'{_prompt}.num_tokens': [5, 10]},
    ),
    'full fine-tuning': dict(
        config='configs/baselines/full_vit-mini_fashion1k.py',
        grid={'optim_wrapper.optimizer.lr': [0.003, 0.01, 0.02, 0.03]},
    ),
}
