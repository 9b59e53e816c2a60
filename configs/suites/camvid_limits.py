# What limits a method on CamVid: the head, the features or the number of steps? A
# linear head, and four times the steps with UperNet; one seed. A diagnosis: look at the
# validation images.
# Run: python tools/benchmark.py camvid_limits --method all
name = 'camvid_limits'
protocol = 'own'
seeds = [0]
backbone = 'vit-mini'
tasks = dict(camvid=dict(title='CamVid'))

_prompts = {'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult': 10}
_long = {'train_cfg.max_iters': 1000, 'train_cfg.val_interval': 1000}


def _method(config, **options):
    """Return the entry of a method."""
    return dict(config=f'configs/{config}-vit-mini_camvid.py', options=options)


methods = {
    'linear head, frozen': _method('baselines/probe_linear'),
    'linear head, VPT-deep': _method('vpt/vpt-deep_linear', **_prompts),
    'linear head, full': _method('baselines/full_linear'),
    'UperNet, 1000 steps, frozen': _method('baselines/frozen_upernet', **_long),
    'UperNet, 1000 steps, VPT-deep': _method(
        'vpt/vpt-deep_upernet', **_prompts, **_long
    ),
    'UperNet, 1000 steps, full': _method('baselines/full_upernet', **_long),
}
