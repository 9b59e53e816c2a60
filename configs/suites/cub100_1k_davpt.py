# What DA-VPT's parts do on the photographs of cub100_1k.py, at the settings that its
# search chose there; five seeds on all 1,000 images. An ablation: nothing is chosen by
# the test images that it reads.
# Run: python tools/benchmark.py cub100_1k_davpt --method all
name = 'cub100_1k_davpt'
protocol = 'vpt'
backbone = 'dinov2-s'
tasks = dict(cub100_1k=dict(title='CUB-100 1k'))

_prompt = 'model.backbone.prompt'
_guidance = 'default_hooks.metric_guidance'
_mapping = 'default_hooks.semantic_mapping'
# mmengine leaves out no hook of a base config; this one has nothing to do on a CPU
_no_hook = dict(_delete_=True, type='EmptyCacheHook')


def _variant(**options):
    """Return the entry of DA-VPT with some options changed."""
    chosen = {
        'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult': 0.3,
        f'{_guidance}.visual_weight': 0.001,
        f'{_guidance}.cls_weight': 0.001,
    }
    config = 'configs/davpt/davpt_dinov2-s_cub100.py'
    return dict(config=config, options={**chosen, **options})


def _unguided(**options):
    """Return the entry without metric losses and classes, some options changed."""
    entry = _variant(
        **{
            _guidance: _no_hook,
            _mapping: _no_hook,
            f'{_prompt}.mapping': 'balanced',
            **options,
        }
    )
    for name in ('visual_weight', 'cls_weight'):  # nothing is left to weigh
        del entry['options'][f'{_guidance}.{name}']
    return entry


_last_three = {f'{_prompt}.guided_layers': [9, 10, 11]}  # with 5 prompts, not 10

methods = {
    'no metric losses': _unguided(),
    'last three layers, no metric losses': _unguided(**_last_three),
    'classes grouped by number': _variant(
        **{_mapping: _no_hook, f'{_prompt}.mapping': 'balanced'}
    ),
    'last three layers guided': _variant(**_last_three),
    'released operands': _variant(**{f'{_guidance}.released': True}),
    'visual term alone': _variant(**{f'{_guidance}.cls_weight': 0.0}),
    'CLS term alone': _variant(**{f'{_guidance}.visual_weight': 0.0}),
}
