# Every method and baseline on Fashion-MNIST 1k by the protocol of VPT: an equal search
# on val200 for each, then five seeds on all 1,000 images, then the test images, once.
# Run: python tools/benchmark.py fashion1k --method all --search
#   --strategy asha --trials 6 --batch 3
name = 'fashion1k'
protocol = 'vpt'
backbone = 'vit-mini'
tasks = dict(fashion1k=dict(title='Fashion-MNIST 1k'))

_lr = 'optim_wrapper.optimizer.lr'
_prompt = 'model.backbone.prompt'
_hook = 'default_hooks.metric_guidance'
_rates = dict(low=0.002, high=0.1, log=True)
_lengths = [2, 5, 10, 20]
# both weights of the metric losses together
_weights = [
    {f'{_hook}.visual_weight': w, f'{_hook}.cls_weight': w}
    for w in (0.003, 0.01, 0.03, 0.1, 0.3)
]


def _method(config, rates=_rates, **more):
    """Return the entry of a method: its learning rate and ``more`` are searched."""
    path = f'configs/{config}_vit-mini_fashion1k.py'
    return dict(config=path, space={_lr: rates, **more})


methods = {
    'linear probe, trained': _method('baselines/linear'),
    # one strength a trial, so that the final training needs no validation images
    'linear probe, converged': dict(
        config='configs/baselines/linear-converged_vit-mini_fashion1k.py',
        space={
            'train_cfg.l2': [
                [1e-6],
                [1e-5],
                [1e-4],
                [3e-4],
                [1e-3],
                [3e-3],
                [0.01],
                [0.03],
                [0.1],
                [0.3],
                [1.0],
                [3.0],
                [10.0],
            ]
        },
        strategy='grid',  # seconds, and nothing to run with before it
    ),
    'bias': _method('baselines/bias'),
    'SSF': _method('baselines/ssf'),
    'LoRA': _method('baselines/lora', **{'model.backbone.adapter.rank': [1, 2, 4, 8]}),
    'Adapter+': _method(
        'baselines/adapter-plus', **{'model.backbone.adapter.rank': [1, 2, 4, 8]}
    ),
    'VPT-shallow': _method('vpt/vpt-shallow', **{f'{_prompt}.num_tokens': _lengths}),
    'VPT-deep': _method('vpt/vpt-deep', **{f'{_prompt}.num_tokens': _lengths}),
    'Gated Prompt Tuning': _method(
        'gatedvpt/gatedvpt', **{f'{_prompt}.gate_init': [1, 3, 5, 10]}
    ),
    'VAPT': _method('vapt/vapt', **{f'{_prompt}.num_tokens': _lengths}),
    'DA-VPT': _method('davpt/davpt', weights=_weights),
    'DA-VPT+': _method('davpt/davpt-plus', weights=_weights),
    'VFPT': _method('vfpt/vfpt', **{f'{_prompt}.ratio': [0.3, 0.5, 0.7, 1.0]}),
    'E2VPT': _method('e2vpt/e2vpt', **{f'{_prompt}.num_key_values': [2, 5, 10]}),
    'CVPT': _method('cvpt/cvpt', **{f'{_prompt}.num_tokens': _lengths}),
    'SA2VP': _method('sa2vp/sa2vp', **{f'{_prompt}.scale': [0.1, 0.5, 1.5]}),
    'Rein': _method('rein/rein', **{f'{_prompt}.num_tokens': [10, 20, 50]}),
    'SPT': _method('spt/spt-deep', **{f'{_prompt}.num_tokens': _lengths}),
    'VIPAMIN': _method('vipamin/vipamin', **{f'{_prompt}.num_matches': [2, 8, 32]}),
    'PAE': _method('pae/pae', **{f'{_prompt}.num_tokens': _lengths}),
    'BPT': _method('bpt/bpt-deep', **{f'{_prompt}.rank': [8, 16, 32, 64]}),
    'PRO-VPT': _method('provpt/provpt', **{f'{_prompt}.num_tokens': _lengths}),
    'full fine-tuning': _method(
        'baselines/full', rates=dict(low=0.001, high=0.1, log=True)
    ),
}
