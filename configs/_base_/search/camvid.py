# What tools/study.py compares on CamVid: two learning rates for each method, chosen on
# the validation images with one seed, then three seeds, tested once each. All train for
# the same steps, but for the one row that gets the time of the prompts instead.
seeds = [0, 1, 2]
predictions = True

_head = {'optim_wrapper.optimizer.lr': [0.001, 0.003]}
_multiplier = 'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult'
_prompts = {_multiplier: [1, 10]}

methods = {
    'frozen': dict(
        config='configs/baselines/frozen_upernet-vit-mini_camvid.py', grid=_head
    ),
    'frozen, equal time': dict(
        config='configs/baselines/frozen_upernet-vit-mini_camvid.py',
        grid={
            **_head,
            'train_cfg.max_iters': [500],
            'train_cfg.val_interval': [500],
        },
    ),
    'VPT-deep': dict(
        config='configs/vpt/vpt-deep_upernet-vit-mini_camvid.py', grid=_prompts
    ),
    'DA-VPT+, image labels': dict(
        config='configs/davpt/davpt-plus_upernet-vit-mini_camvid.py', grid=_prompts
    ),
    'DA-VPT+, patch labels': dict(
        config='configs/davpt/davpt-plus-patch_upernet-vit-mini_camvid.py',
        grid=_prompts,
    ),
    'Gated': dict(
        config='configs/gatedvpt/gatedvpt_upernet-vit-mini_camvid.py', grid=_prompts
    ),
    'VAPT': dict(config='configs/vapt/vapt_upernet-vit-mini_camvid.py', grid=_prompts),
    'full fine-tuning': dict(
        config='configs/baselines/full_upernet-vit-mini_camvid.py',
        grid={_multiplier: [0.1, 0.3]},
    ),
}
