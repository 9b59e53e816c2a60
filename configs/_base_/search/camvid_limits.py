# What limits a method on CamVid: the head, the features or the number of steps? A
# linear head, and four times the steps with UperNet; one seed, validation images only.
seeds = [0]
test = False

_multiplier = 'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult'
_long = {'train_cfg.max_iters': [1000], 'train_cfg.val_interval': [1000]}

methods = {
    'linear head, frozen': dict(
        config='configs/baselines/probe_linear-vit-mini_camvid.py'
    ),
    'linear head, VPT-deep': dict(
        config='configs/vpt/vpt-deep_linear-vit-mini_camvid.py',
        grid={_multiplier: [10]},
    ),
    'linear head, full': dict(
        config='configs/baselines/full_linear-vit-mini_camvid.py'
    ),
    'UperNet, 1000 steps, frozen': dict(
        config='configs/baselines/frozen_upernet-vit-mini_camvid.py', grid=_long
    ),
    'UperNet, 1000 steps, VPT-deep': dict(
        config='configs/vpt/vpt-deep_upernet-vit-mini_camvid.py',
        grid={_multiplier: [10], **_long},
    ),
    'UperNet, 1000 steps, full': dict(
        config='configs/baselines/full_upernet-vit-mini_camvid.py', grid=_long
    ),
}
