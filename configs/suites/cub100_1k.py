# Every method and baseline on 1,000 photographs of 100 species of birds, with a real
# pretrained backbone (DINOv2 ViT-S/14), by the protocol of VPT: for each method a
# search of three settings on val200, then five seeds on all 1,000 images,
# then the test images, once.
# Run: python tools/benchmark.py cub100_1k --method all --search --strategy grid
name = 'cub100_1k'
protocol = 'vpt'
backbone = 'dinov2-s'
tasks = dict(cub100_1k=dict(title='CUB-100 1k'))

_lr = 'optim_wrapper.optimizer.lr'
_factor = 'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult'


def _method(config, factors):
    """Return the entry of a method: one of three learning rates is searched."""
    return _head(config, factors, _factor)


def _guided(config):
    """Return the entry of DA-VPT: its loss weights matter as much as the rate."""
    hook = 'default_hooks.metric_guidance'
    pairs = [(0.3, 0.001), (0.3, 0.01), (0.1, 0.01)]
    keys = (f'{hook}.visual_weight', f'{hook}.cls_weight')
    settings = [{_factor: f, **dict.fromkeys(keys, w)} for f, w in pairs]
    return dict(
        config=f'configs/{config}_dinov2-s_cub100.py', space=dict(settings=settings)
    )


def _with(config, name, pairs):
    """Return the entry of a method of which an option of the prompt matters as much."""
    key = f'model.backbone.prompt.{name}'
    settings = [{_factor: factor, key: value} for factor, value in pairs]
    return dict(
        config=f'configs/{config}_dinov2-s_cub100.py', space=dict(settings=settings)
    )


def _head(config, rates, key=_lr):
    """Return the entry of a method with one learning rate, of the head by default."""
    return dict(config=f'configs/{config}_dinov2-s_cub100.py', space={key: rates})


# Adam moves a parameter by about the learning rate, whatever its scale: the range goes
# with the scale of what is tuned, tokens of std .045 (VPT) or weights.
_tokens = [0.3, 1.0, 3.0]
_long_tokens = [1.0, 3.0, 10.0]  # patch tokens of late layers
_weights = [0.1, 0.3, 1.0]

methods = {
    'linear probe, converged': dict(
        config='configs/baselines/linear-converged_dinov2-s_cub100.py',
        # one strength a trial, so that the final training needs no validation images
        space={'train_cfg.l2': [[1e-6], [1e-5], [1e-4], [1e-3], [0.01], [0.1]]},
        strategy='grid',  # and nothing to run with before it
    ),
    'linear probe, trained': _head('baselines/linear', [0.003, 0.01, 0.03]),
    'MLP': _head('baselines/mlp', [0.001, 0.003, 0.01]),
    'VPT-shallow': _method('vpt/vpt-shallow', _tokens),
    'VPT-deep': _method('vpt/vpt-deep', _tokens),
    'Gated Prompt Tuning': _method('gatedvpt/gatedvpt', _tokens),
    'VAPT': _method('vapt/vapt', _weights),
    'DA-VPT': _guided('davpt/davpt'),
    'DA-VPT+': _guided('davpt/davpt-plus'),
    'VFPT': _method('vfpt/vfpt', _tokens),
    'E2VPT': _method('e2vpt/e2vpt', _tokens),
    'SPT': _method('spt/spt-deep', _long_tokens),
    # its own search has the share of orthogonal prompts, whose norm is 1,000 here
    'VIPAMIN': _with(
        'vipamin/vipamin', 'orthogonal', [(1.0, 0.5), (1.0, 0.0), (3.0, 0.0)]
    ),
    'PAE': _method('pae/pae', _tokens),
    'BPT': _method('bpt/bpt-deep', _tokens),
    'PRO-VPT': _method('provpt/provpt', _tokens),
    # what its paper prefers adds DINOv2's large biases to every token of every layer
    'CVPT': _with(
        'cvpt/cvpt', 'position', [(1.0, 'between'), (0.3, 'mlp'), (1.0, 'mlp')]
    ),
    'Rein': _method('rein/rein', _weights),
    'SA2VP': _method('sa2vp/sa2vp', _weights),
    'bias': _method('baselines/bias', _weights),
    'SSF': _method('baselines/ssf', _weights),
    'LoRA': _method('baselines/lora', _weights),
    'Adapter+': _method('baselines/adapter-plus', _weights),
    'partial-1': _method('baselines/partial-1', [0.03, 0.1, 0.3]),
    'full fine-tuning': _method('baselines/full', [0.003, 0.01, 0.03]),
}
