# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What trains and what is frozen: the only file that touches ``requires_grad``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from mmvpt.errors import UserError

#: Parts of the fused query-key-value bias, in the order of its rows.
BIAS_PARTS = ('query', 'key', 'value')
_PART = re.compile(r'(.+\.attn)\.qkv\.bias\.(query|key|value)')

_DAVPT_PLUS = [
    'layers.*.attn.qkv.bias.key',
    'layers.*.attn.qkv.bias.value',
    'cls_token',
]
_DAVPT_RELEASED = [
    *_DAVPT_PLUS,
    'patch_embed.projection.bias',
    'layers.*.attn.proj.bias',
    'layers.*.ffn.{layers.1,w3}.bias',
    'layers.*.ln1.*',
    'layers.*.ln2.bias',
]


class TunedBias(nn.Module):
    """Tuned parts that are added to a frozen fused query-key-value bias.

    Each part is a parameter (C,) of its own that starts at zero, so exactly these
    numbers train and the frozen key of the host stays as it is.

    Args:
        dims: Channels (C).
        parts: Which parts train, from ``query``, ``key`` and ``value``.
    """

    def __init__(self, dims: int, parts: Iterable[str]) -> None:
        super().__init__()
        self.dims = dims
        for part in BIAS_PARTS:
            tuned = nn.Parameter(torch.zeros(dims)) if part in parts else None
            self.register_parameter(part, tuned)

    def forward(self, bias: Tensor) -> Tensor:
        """Return the sum of the frozen bias (3C,) and the tuned parts."""
        zero = bias.new_zeros(self.dims)
        parts = [getattr(self, part) for part in BIAS_PARTS]
        return bias + torch.cat([zero if part is None else part for part in parts])


def expand_preset(preset: str, num_layers: int) -> list[str]:
    """Return the patterns that a preset stands for.

    ``none`` nothing; ``bias`` every bias (BitFit); ``norm`` weights and biases of all
    norms; ``cls`` the class token; ``registers`` the register tokens; ``partial-k`` the
    last k layers, the final norm and the attention pool, if there is one;
    ``davpt+`` key and value biases and the class token (DA-VPT+); ``davpt-released``
    the larger set of DA-VPT's released configs; ``full`` everything. A string that is
    none of them is a pattern itself.

    Raises:
        UserError: If k of ``partial-k`` is not between 1 and ``num_layers``.
    """
    presets = {
        'none': [],
        'bias': ['**.bias'],
        'norm': ['**.{ln1,ln2,norm}.{weight,bias}'],
        'cls': ['cls_token'],
        'registers': ['reg_tokens'],
        'full': ['**'],
        'davpt+': _DAVPT_PLUS,
        'davpt-released': _DAVPT_RELEASED,
    }
    if preset in presets:
        return presets[preset]
    partial = re.fullmatch(r'partial-(\d+)', preset)
    if partial is None:
        return [preset]
    k = int(partial[1])
    if not 1 <= k <= num_layers:
        raise UserError(
            f"tunable='{preset}': k must be between 1 and the {num_layers} layers of "
            'this backbone.'
        )
    layers = [f'layers.{i}.**' for i in range(num_layers - k, num_layers)]
    return [*layers, '{ln1,pool}.**']


def tune(host: nn.Module, tunable: str | Iterable[str], num_layers: int) -> set[str]:
    r"""Freeze ``host`` but for the parameters that ``tunable`` names.

    A pattern is a parameter name whose components are matched exactly; ``*`` stands for
    one component, ``**`` for any number and ``{a,b}`` for either.
    ``layers.*.attn.qkv.bias.value`` (or ``.query``, ``.key``) tunes that third of a
    fused bias through :class:`TunedBias`.

    Args:
        host: The module whose names the patterns mean; prompts not yet attached.
        tunable: A preset, a pattern, or a list of both.
        num_layers: Depth, for ``partial-k``.

    Returns:
        Names of the parameters of ``host`` that train.

    Raises:
        UserError: If a pattern matches no parameter, or a part is asked for where
            there is no fused bias.
    """
    specs = [tunable] if isinstance(tunable, str) else list(tunable)
    names = [name for name, _ in host.named_parameters()]
    fused = [n for n in names if n.endswith('.attn.qkv.bias')]
    names += [f'{name}.{part}' for name in fused for part in BIAS_PARTS]
    chosen: set[str] = set()
    for spec in specs:
        for pattern in expand_preset(spec, num_layers):
            regex = _compile(pattern)
            hits = {name for name in names if regex.fullmatch(name)}
            if not hits:
                raise UserError(
                    f'tunable pattern {pattern!r} matches no parameter. Allowed: the '
                    "presets 'none', 'bias', 'norm', 'cls', 'registers', 'partial-k', "
                    "'davpt+', 'davpt-released', 'full', and names such as "
                    f'{", ".join(names[:4])}, ... with * '
                    'for one component, ** for several and {a,b} for either.'
                )
            chosen |= hits
    for name, parameter in host.named_parameters():
        parameter.requires_grad = name in chosen
    return _attach_parts(host, chosen)


def _attach_parts(host: nn.Module, chosen: set[str]) -> set[str]:
    """Replace chosen parts of fused biases by attached parameters; return all names."""
    parts: dict[str, list[str]] = {}
    tuned = set()
    for name in chosen:
        match = _PART.fullmatch(name)
        if match is None:
            tuned.add(name)
        elif f'{match[1]}.qkv.bias' not in chosen:
            parts.setdefault(match[1], []).append(match[2])
    for path, wanted in parts.items():
        attn = host.get_submodule(path)
        attn.tuned_bias = TunedBias(attn.embed_dims, wanted)
        tuned |= {f'{path}.tuned_bias.{part}' for part in wanted}
    return tuned


def _compile(pattern: str) -> re.Pattern:
    """Translate a pattern to a regular expression over full parameter names."""
    out = ''
    special = {
        **{'**.': r'(?:[^.]+\.)*', '**': r'.+', '*': r'[^.]+'},
        **{'{': '(?:', ',': '|', '}': ')'},
    }
    for piece in re.split(r'(\*\*\.|\*\*|\*|[{},])', pattern):
        out += special.get(piece, re.escape(piece))
    return re.compile(out)


def freeze(module: nn.Module) -> None:
    """Freeze every parameter of ``module``."""
    for parameter in module.parameters():
        parameter.requires_grad = False


def unfreeze(module: nn.Module) -> None:
    """Let every parameter of ``module`` train."""
    for parameter in module.parameters():
        parameter.requires_grad = True


def is_frozen(module: nn.Module) -> bool:
    """Whether no parameter of ``module`` trains."""
    return not any(parameter.requires_grad for parameter in module.parameters())


def tuned_names(model: nn.Module) -> list[str]:
    """Names of the parameters that train."""
    return [n for n, parameter in model.named_parameters() if parameter.requires_grad]


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Return the numbers of tuned and of all parameters; shared ones count once."""
    parameters = list(model.parameters())
    tuned = sum(p.numel() for p in parameters if p.requires_grad)
    return tuned, sum(p.numel() for p in parameters)


def tuned_state(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries of ``state`` that training writes.

    These are the tuned parameters and every buffer (of prompts and heads; a plain ViT
    has none).
    """
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    return {name: value for name, value in state.items() if name not in frozen}
