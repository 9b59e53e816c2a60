# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Static prompts computed once, and one batch for several backbones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvpt.errors import UserError

from .layer import PromptedEncoderLayer, Reads, run
from .snapshot import Snapshot, is_counted, precision_state

if TYPE_CHECKING:
    from .vit import PromptedVisionTransformer, State


class Entering(NamedTuple):
    """Prompts as they enter a layer, and what its attention sees of them."""

    prompts: Tensor | None
    attended: Tensor | None


class _Entry(NamedTuple):
    state: tuple
    sources: Snapshot
    kept: tuple[Tensor | None, ...]


class StaticPrompts:
    """What layers see of static prompts, and constants of prompts, kept while it holds.

    An entry is used only while every parameter and buffer that it was computed from is
    unchanged, as a :class:`Snapshot` tells. The backbone forgets everything whenever
    its mode is set or its tensors are moved. Copies and pickles start empty.
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[str, int], _Entry] = {}
        self._folded: dict[int, Entering] = {}

    def __reduce__(self) -> tuple:
        return type(self), ()

    def __deepcopy__(self, memo: dict) -> StaticPrompts:
        return type(self)()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def num_bytes(self) -> int:
        """Bytes that are kept besides the tensors that they were computed from."""
        total = 0
        for entry in self._entries.values():
            sources = {t.untyped_storage()._cdata for t in entry.sources.storages}
            total += sum(
                tensor.untyped_storage().nbytes()
                for tensor in entry.kept
                if tensor is not None and tensor.untyped_storage()._cdata not in sources
            )
        return total

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def fold(self, i: int, prompts: Tensor | None, attended: Tensor | None) -> None:
        """Let layer ``i`` see ``attended`` for good, whatever becomes of the prompts.

        For graphs that are written to files: what is folded is a constant in them.
        """
        self._folded[i] = Entering(prompts, attended)

    def enter(
        self,
        i: int,
        prompt: nn.Module,
        layer: nn.Module,
        reads: Reads,
        key_values: Tensor | None,
        compute: Callable[[], Tensor | None],
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return static prompts of layer ``i`` and what its attention sees of them.

        The latter is None where it is not to be computed apart: with gradients, while a
        graph is compiled, with something random in training mode, or where forward
        hooks or a wrapper of the layer want to see the modules run.

        Args:
            i: Index of the layer.
            prompt: The prompt module.
            layer: Layer ``i``.
            reads: What is read of the layer.
            key_values: Further keys and values of it.
            compute: Asks the prompt module.
        """
        if i in self._folded:
            return self._folded[i]
        if type(layer) is not PromptedEncoderLayer:
            return compute(), None
        tuned_bias = getattr(layer.attn, 'tuned_bias', None)
        modules = [prompt, layer.ln1, layer.attn.qkv]
        modules += [] if tuned_bias is None else [tuned_bias]
        once = layer.attn.meets_tokens(reads, key_values)

        def enter() -> Entering:
            prompts = compute()
            return Entering(
                prompts, None if prompts is None else layer.see(prompts, once)
            )

        return self._keep(('enter', i), modules, once, enter) or (compute(), None)

    def constants(self, i: int, prompt: nn.Module) -> tuple[Tensor, ...]:
        """Return ``prompt.constants(i)``, or nothing where it is not to be kept."""
        compute = partial(prompt.constants, i)
        return self._keep(('constants', i), [prompt], None, compute) or ()

    def _keep(
        self,
        key: tuple[str, int],
        modules: list[nn.Module],
        about: object,
        compute: Callable[[], tuple],
    ) -> tuple | None:
        """Return ``compute()`` of now or before; None where nothing may be kept."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or busy(modules):
            return None
        sources = _tensors(*modules)
        if not sources or not is_counted(sources):
            return None
        state = about, precision_state(sources[0].device)
        entry = self._entries.get(key)
        if entry is None or entry.state != state or not entry.sources.holds(sources):
            entry = _Entry(state, Snapshot(sources), compute())
            self._entries[key] = entry
        return entry.kept


def fold_static_prompts(vit: PromptedVisionTransformer) -> None:
    """Let layers see what they see now of static prompts, whatever becomes of these."""
    size = vit.patch_resolution[0] * vit.patch_resolution[1] + vit.num_extra_tokens
    tokens = next(vit.parameters()).new_zeros(1, size, vit.embed_dims)
    state = vit.start(tokens, tuple(vit.patch_resolution))
    for i in range(vit.out_indices[-1] + 1):
        if vit.is_static(i):
            entering = vit.enter(state._replace(layer=i))
            vit.static_prompts.fold(i, entering.prompts, entering.attended)


def run_mixed(
    vits: Sequence[PromptedVisionTransformer], images: Sequence[Tensor]
) -> list[tuple[Tensor, ...]]:
    r"""Run images through their backbones, together wherever weights are shared.

    In every layer, backbones whose parameters of it are the same tensors run as one
    batch; each image brings the keys and values of its own prompts. Unlike numbers of
    prompts are filled up with keys that get a logit of :math:`-\infty`. The same images
    of several backbones run once up to the first layer in which these differ. Apart run
    layers that are tuned, and those whose rows at the prompts are read afterwards. What
    comes out is what each backbone computes by itself, gradients too; dropout draws in
    another order.

    Args:
        vits: Different backbones, all in eval mode or all in training mode.
        images: Normalised images of each, (B_k, in_channels, height, width), all of
            one size.

    Returns:
        The outputs of each backbone.

    Raises:
        UserError: If some are in training mode and others not, or a metric loss listens
            to one that trains.
    """
    if len({vit.training for vit in vits}) > 1:
        raise UserError(
            'some backbones are in training mode and others in eval mode, but they '
            'share layers: call train() or eval() of all.'
        )
    if any(vit.training and vit.guide.reads for vit in vits):
        raise UserError(
            'metric guidance reads the layers of one model in its own forward pass: '
            'train it by itself, or detach the hook.'
        )
    states = _embed(vits, images)
    outs: list[list[Tensor]] = [[] for _ in vits]
    whole: dict[tuple[int, ...], Tensor] = {}
    for i in range(max(vit.out_indices[-1] for vit in vits) + 1):
        groups: dict[tuple, list[int]] = {}
        for k, vit in enumerate(vits):
            if i <= vit.out_indices[-1]:
                states[k] = vit.enter(states[k])
                groups.setdefault(_together(vit, states[k]) or (k,), []).append(k)
        joined = {}
        for group in groups.values():
            joined.update(_run_group(vits, states, _alike(group, states), whole))
        whole = joined
        for k, vit in enumerate(vits):
            if i in vit.out_indices:
                outs[k].append(vit.format(states[k]))
    for out, vit in zip(outs, vits):
        queries = None if vit.prompt is None else vit.prompt.queries()
        out += [] if queries is None else [queries]
    return [tuple(out) for out in outs]


def _embed(
    vits: Sequence[PromptedVisionTransformer], images: Sequence[Tensor]
) -> dict[int, State]:
    """Embed images, those of backbones with the same embedding together."""
    groups: dict[tuple, list[int]] = {}
    for k, vit in enumerate(vits):
        modules = (vit.patch_embed, vit.pre_norm)
        own = (vit.cls_token, vit.reg_tokens, vit.pos_embed, *_tensors(*modules))
        settings = (tuple(vit.patch_resolution), vit.interpolate_mode)
        groups.setdefault((settings, *map(id, own)), []).append(k)
    states: dict[int, State] = {}
    for members in groups.values():
        given = {id(images[k]): images[k] for k in members}
        tokens, grid = vits[members[0]].embed(torch.cat(list(given.values())))
        parts = tokens.split([len(part) for part in given.values()])
        rows = dict(zip(given, parts))
        for k in members:
            states[k] = vits[k].start(rows[id(images[k])], grid)
    return states


def _alike(group: Sequence[int], states: Mapping[int, State]) -> list[list[int]]:
    """Divide a group: who runs the same rows without prompts has the same result."""
    found: dict[object, list[int]] = {}
    for k in group:
        state = states[k]
        plain = state.prompts is None and state.attended is None
        found.setdefault(id(state.tokens) if plain else (k,), []).append(k)
    return list(found.values())


def _tensors(*modules: nn.Module) -> list[Tensor]:
    return [t for m in modules for t in (*m.parameters(), *m.buffers())]


def _together(vit: PromptedVisionTransformer, state: State) -> tuple | None:
    """Return what all who run this layer with ``vit`` have alike; None if alone."""
    reads, prompt = state.reads, state.prompt
    own = (reads.accompany, state.temperature, state.key_values)
    alone = reads.keep_prompts or reads.position != 'sequence'
    alone = alone or any(part is not None for part in own)
    if alone or (prompt is not None and prompt.refines):
        return None
    weights = map(id, _tensors(vit.layers[state.layer]))
    return (reads.cls_only, reads.num_extra, vit.rope_dtype, *weights)


def _run_group(
    vits: Sequence[PromptedVisionTransformer],
    states: dict[int, State],
    alike: Sequence[Sequence[int]],
    whole: Mapping[tuple, Tensor],
) -> dict[tuple, Tensor]:
    """Run a layer for a group, see :func:`_alike`, and put what comes out into states.

    Args:
        vits: The backbones.
        states: Those entering the layer.
        alike: The group.
        whole: Joined tokens of groups that left the last layer.

    Returns:
        The same of this layer.
    """
    members = tuple(first for first, *_ in alike)
    entering = [states[k] for k in members]
    if len(members) == 1:  # others of the group get its rows
        states[members[0]] = after = vits[members[0]].run_layer(entering[0])
        alike = [alike[0][1:]]
        joined, parts = {}, [after.tokens]
    else:
        tokens = whole.get(members)
        if tokens is None:
            tokens = torch.cat([state.tokens for state in entering])
        tokens = _run_together(vits[members[0]], entering, tokens)
        joined = {members: tokens}
        parts = tokens.split([len(state.tokens) for state in entering])
    for rows, same in zip(parts, alike):
        for k in same:
            layer = states[k].layer + 1
            states[k] = states[k]._replace(
                layer=layer, tokens=rows, attended=None, left=None
            )
    return joined


def _run_together(
    vit: PromptedVisionTransformer, entering: list[State], tokens: Tensor
) -> Tensor:
    """Run a layer for joined tokens (B, T, C) and what each part sees besides."""
    layer, reads = vit.layers[entering[0].layer], entering[0].reads
    seen = [_seen(layer, state) for state in entering]
    counts = [0 if part is None else part.shape[1] for part in seen]
    attended = bias = None
    if any(counts):
        width = next(part.shape[-1] for part in seen if part is not None)
        attended = torch.cat(
            [
                tokens.new_zeros(len(state.tokens), max(counts), width)
                if part is None
                else F.pad(part, (0, 0, 0, max(counts) - count))
                for state, part, count in zip(entering, seen, counts)
            ]
        )
        if min(counts) < max(counts):
            bias = _hide(tokens, counts, [len(state.tokens) for state in entering])
    reads = reads._replace(mask=False, guide=())
    return run(layer, tokens, None, attended, None, None, bias, None, reads)


def _seen(layer: nn.Module, state: State) -> Tensor | None:
    """Return what attention sees of the prompts of each image."""
    if state.prompts is None:
        return None
    seen = state.attended
    if seen is None:
        seen = layer.see(state.prompts, layer.attn.meets_tokens(state.reads))
    return seen.expand(len(state.tokens), -1, -1)


def _hide(tokens: Tensor, counts: list[int], sizes: list[int]) -> Tensor:
    """Return what hides keys beyond each part's count, (B, 1, 1, T + most)."""
    bias = tokens.new_zeros(len(tokens), 1, 1, tokens.shape[1] + max(counts))
    for rows, count in zip(bias.split(sizes), counts):
        rows[..., tokens.shape[1] + count :] = float('-inf')
    return bias


def busy(modules: Iterable[nn.Module]) -> bool:
    """Whether something in ``modules`` is in training mode, or somebody listens."""
    return any(
        module.training or module._forward_hooks or module._forward_pre_hooks
        for outer in modules
        for module in outer.modules()
    )
