# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prompts that depend on parameters alone, computed once in evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .layer import attend_to
from .snapshot import Snapshot, is_counted, precision_state


class Entering(NamedTuple):
    """Prompts as they enter a layer, and what its attention sees of them."""

    prompts: Tensor | None
    attended: Tensor | None


class _Entry(NamedTuple):
    state: tuple
    sources: Snapshot
    entering: Entering


class StaticPrompts:
    """What layers' attention sees of static prompts, kept while it holds.

    An entry is used only while every parameter and buffer that it was computed from is
    unchanged, as a :class:`Snapshot` tells. The backbone forgets everything whenever
    its mode is set or its tensors are moved. Copies and pickles start empty.
    """

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
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
                for tensor in entry.entering
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
        once: bool,
        compute: Callable[[], Tensor | None],
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return static prompts of layer ``i`` and what its attention sees of them.

        The latter is None where it is not to be computed apart: with gradients, while a
        graph is compiled, with something random in training mode, or where forward
        hooks want to see the modules run.

        Args:
            i: Index of the layer.
            prompt: The prompt module.
            layer: Layer ``i``.
            once: As in :func:`attend_to`.
            compute: Asks the prompt module.
        """
        if i in self._folded:
            return self._folded[i]
        modules = (prompt, layer.ln1, layer.attn.qkv)
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or busy(modules):
            return compute(), None
        sources = [t for m in modules for t in (*m.parameters(), *m.buffers())]
        tuned_bias = getattr(layer.attn, 'tuned_bias', None)
        sources += [] if tuned_bias is None else tuned_bias.parameters()
        if not is_counted(sources):
            return compute(), None
        state = once, precision_state(sources[0].device)
        entry = self._entries.get(i)
        if entry is None or entry.state != state or not entry.sources.holds(sources):
            prompts = compute()
            seen = None if prompts is None else attend_to(layer, prompts, once)
            entry = _Entry(state, Snapshot(sources), Entering(prompts, seen))
            self._entries[i] = entry
        return entry.entering


def busy(modules: Iterable[nn.Module]) -> bool:
    """Whether something in ``modules`` is in training mode, or somebody listens."""
    return any(
        module.training or module._forward_hooks or module._forward_pre_hooks
        for outer in modules
        for module in outer.modules()
    )
