# Every method on CamVid with UperNet on a small ViT: two settings for each method, chosen
# on the validation images with one seed, then three seeds, tested once each. All train
# for the same steps, but for the one row that gets the time of the prompts instead.
# Run: python tools/benchmark.py camvid --method all --search --strategy grid
name = 'camvid'
protocol = 'own'
seeds = [0, 1, 2]
backbone = 'vit-mini'
tasks = dict(camvid=dict(title='CamVid'))

_head = {'optim_wrapper.optimizer.lr': [0.001, 0.003]}
_multiplier = 'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult'
_prompts = {_multiplier: [1, 10]}
_adapters = {_multiplier: [0.3, 1]}  # with 0.3 nearly the rate of Adapter+'s recipe


def _method(config, space, **options):
    """Return the entry of a method."""
    path = f'configs/{config}_upernet-vit-mini_camvid.py'
    return dict(config=path, space=space, options=options)


methods = {
    'frozen': _method('baselines/frozen', _head),
    'frozen, equal time': _method(
        'baselines/frozen',
        _head,
        **{'train_cfg.max_iters': 500, 'train_cfg.val_interval': 500},
    ),
    'bias': _method('baselines/bias', _prompts),
    'SSF': _method('baselines/ssf', _adapters),
    'LoRA': _method('baselines/lora', _adapters),
    'Adapter+': _method('baselines/adapter-plus', _adapters),
    'VPT-deep': _method('vpt/vpt-deep', _prompts),
    'DA-VPT+, image labels': _method('davpt/davpt-plus', _prompts),
    'DA-VPT+, patch labels': _method('davpt/davpt-plus-patch', _prompts),
    'Gated Prompt Tuning': _method('gatedvpt/gatedvpt', _prompts),
    'VAPT': _method('vapt/vapt', _prompts),
    'full fine-tuning': _method('baselines/full', {_multiplier: [0.1, 0.3]}),
}
