# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The contract between an adapter method and the backbone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


class Alteration(nn.Module):
    """Trained parameters that change what one frozen module puts out.

    It becomes the child ``adapter`` of that module, so the keys of the frozen ViT stay
    the host's and the trained ones read ``layers.0.attn.qkv.adapter.down``.
    """

    def forward(self, x: Tensor, y: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return the changed output.

        Args:
            x: Input of the frozen module, (B, T, C).
            y: Its output at the channels ``rows``, (B, T, len(rows)).
            rows: Output channels that were computed; all unless the module is a fused
                query-key-value projection.
        """
        raise NotImplementedError


class BaseAdapter:
    """A baseline that changes frozen modules: which of them, and how."""

    def alterations(self, host: nn.Module) -> Iterator[tuple[nn.Module, Alteration]]:
        """Yield each frozen module that is changed, and what changes it."""
        raise NotImplementedError

    def attach(self, host: nn.Module) -> None:
        """Add the alterations to ``host``; call it when the host is frozen."""
        for module, alteration in self.alterations(host):
            module.adapter = alteration
            module.register_forward_hook(alter)


def running_layers(host: nn.Module) -> list[nn.Module]:
    """Return the layers up to the last output; others would never get a gradient."""
    return list(host.layers[: host.out_indices[-1] + 1])


def alter(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """Change a module's output by its child ``adapter`` (a forward hook).

    A function of the module alone, so that copies of a model change by their own
    parameters. A fused projection of which only some rows are computed does not come
    here: ``Attention.project`` calls its adapter.
    """
    return module.adapter(inputs[0], output)
