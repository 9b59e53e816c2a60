# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Every prompt in a small backbone: shipped ones, and the example of the docs."""

import re
from pathlib import Path

import torch

from mmvpt.models.vit import PromptedVisionTransformer

#: Configs with all dropout off.
PROMPT_CONFIGS = {
    'shallow': dict(type='ShallowPrompt', num_tokens=3),
    'deep': dict(type='DeepPrompt', num_tokens=3),
    'deep-projected': dict(type='DeepPrompt', num_tokens=3, project_dims=10),
    'gated': dict(type='GatedPrompt', num_tokens=3, gate_init=1, drop_rate=0),
    'gated-alone': dict(
        type='GatedPrompt', num_tokens=3, temperatures=False, drop_rate=0
    ),
    'adaptive': dict(
        type='AdaptivePrompt',
        num_tokens=3,
        drop_rate=0,
        conv_drop_rate=0,
        mlp_drop_rate=0,
    ),
    'adaptive-paper': dict(
        type='AdaptivePrompt',
        num_tokens=3,
        drop_rate=0,
        conv_drop_rate=0,
        mlp_drop_rate=0,
        static_layers=0,
        residual=False,
        token_bias=False,
    ),
    'distribution-aware': dict(
        type='DistributionAwarePrompt',
        num_classes=7,
        num_guided_tokens=4,
        num_tokens=3,
        guided_layers=[-1],
    ),
    'fourier': dict(type='FourierPrompt', num_tokens=4, drop_rate=0),
    'fourier-shallow': dict(
        type='FourierPrompt', num_tokens=4, ratio=1, depth='shallow', drop_rate=0
    ),
    'fourier-linear': dict(
        type='FourierPrompt', num_tokens=3, transform='linear', drop_rate=0
    ),
    'bilinear': dict(type='BilinearPrompt', num_tokens=3, rank=5),
    'bilinear-deep': dict(
        type='BilinearPrompt', num_tokens=3, rank=5, depth='deep', tuned_bases=2
    ),
    'self-prompt': dict(type='SelfPrompt', num_tokens=3),
    'vipamin': dict(type='VipaminPrompt', num_tokens=3),
    'evolving': dict(
        type='EvolvingPrompt',
        num_tokens=3,
        koopman_weight=0,
        lyapunov_weight=0,
        drop_rate=0,
    ),
    'relocated': dict(type='RelocatedPrompt', num_tokens=3, drop_rate=0),
    'key-value': dict(
        type='KeyValuePrompt',
        num_tokens=3,
        num_key_values=2,
        num_segments=4,
        drop_rate=0,
    ),
    'cross': dict(type='CrossPrompt', num_tokens=3, drop_rate=0),
    'refining': dict(type='RefiningPrompt', num_tokens=5, rank=3, scale_init=0.5),
    'spatial': dict(
        type='SpatialPrompt',
        rank=4,
        adapt_layers=[0],
        fresh_layers=[0],
        drop_rate=0,
    ),
    'echo': dict(type='EchoPrompt', num_tokens=3),
}
PAGE = Path(__file__).parents[2] / 'docs' / 'methods' / 'add_your_own.md'
EXAMPLE = re.search(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)[1]
exec(compile(EXAMPLE, str(PAGE), 'exec'), {'__name__': 'echo'})

ARCH = dict(embed_dims=24, num_layers=3, num_heads=3, feedforward_channels=48)
OUTPUTS = (
    dict(pooling='cls'),
    dict(pooling='patches'),
    dict(pooling='prompts'),
    dict(pooling='prompts', norm_before_pool=False),
    dict(pooling='prompts_and_patches'),
    dict(pooling='prompts_and_patches', norm_before_pool=False),
    dict(out_type='featmap', out_indices=(1, 2)),
    dict(out_type='raw'),
)
#: Prompts that have no rows among the tokens, so that nothing pools them.
WITHOUT_ROWS = ('cross', 'refining', 'spatial')
#: Prompts, and outputs that they allow.
WITH_OUTPUT = tuple(
    (name, output)
    for output in OUTPUTS
    for name in PROMPT_CONFIGS
    if name not in WITHOUT_ROWS or 'prompts' not in output.get('pooling', '')
)
#: Height, width and images; the second is made of no whole patches.
INPUTS = ((32, 32, 2), (29, 37, 2), (48, 40, 1))


def build(name, seed=0, **options):
    """Build a small backbone, without prompt if the name is None.

    Weights depend on the seed alone.
    """
    torch.manual_seed(seed)
    options = {**dict(arch=ARCH, img_size=32, patch_size=8), **options}
    changes = options.pop('prompt', {})
    prompt = None if name is None else dict(PROMPT_CONFIGS[name], **changes)
    vit = PromptedVisionTransformer(prompt=prompt, **options)
    for parameter in vit.parameters():
        parameter.data += (0.2 if parameter.dim() > 1 else 0.1) * torch.randn(
            parameter.shape
        )
    return vit


def images(batch=2, size=(32, 32), seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, *size, generator=generator).to(dtype)
