# Segmentation of MSRC-21 with a real pretrained backbone (DINOv2 ViT-S/14) under a linear
# head and under UPerNet: two settings for each method, chosen on the validation images
# with one seed, then three seeds, tested once each.
# Run: python tools/benchmark.py msrc21 --method all --search --strategy grid
name = 'msrc21'
protocol = 'own'
seeds = [0, 1, 2]
backbone = 'dinov2-s'
tasks = dict(msrc21=dict(title='MSRC-21'))

_factor = 'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult'
_hook = 'default_hooks.metric_guidance'
_rates = {
    'frozen': ('baselines/frozen', {'optim_wrapper.optimizer.lr': [0.003, 0.01]}),
    'VPT-deep': ('vpt/vpt-deep', {_factor: [0.3, 1.0]}),
    'DA-VPT': (
        'davpt/davpt',
        dict(
            settings=[
                {_factor: 0.3, f'{_hook}.visual_weight': w, f'{_hook}.cls_weight': w}
                for w in (0.001, 0.01)
            ]
        ),
    ),
    'bias': ('baselines/bias', {_factor: [0.3, 1.0]}),
    'LoRA': ('baselines/lora', {_factor: [0.3, 1.0]}),
    'full fine-tuning': ('baselines/full', {_factor: [0.01, 0.03]}),
}
methods = {
    f'{method}, {title}': dict(
        config=f'configs/{config}_{head}-dinov2-s_msrc21.py', space=space
    )
    for head, title in (('linear', 'linear head'), ('upernet', 'UPerNet'))
    for method, (config, space) in _rates.items()
}
