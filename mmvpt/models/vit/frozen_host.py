# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What a prompt sees of the backbone when it starts from training images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmvpt.errors import UserError

if TYPE_CHECKING:
    from .vit import PromptedVisionTransformer, State

QUERY, KEY, VALUE = range(3)


class Seen(dict):
    """What can be read where a layer begins; computed when it is first read.

    ``tokens`` (B, E + N, C) enter it and ``prompts`` (1 or B, M, C), or None;
    ``token_keys`` (B, E + N, C) and ``prompt_keys`` (1 or B, M, C) are their keys, with
    bias and before they turn, heads side by side; ``attended`` (B, E + N, C) is the
    attention output at the tokens before the output projection. E is ``num_extra``.
    """

    def __init__(self, vit: PromptedVisionTransformer, state: State) -> None:
        super().__init__(tokens=vit.wide(state.tokens), prompts=vit.wide(state.prompts))
        self._vit, self._state = vit, state

    @torch.no_grad()
    def __missing__(self, name: str) -> Tensor | None:
        if name == 'attended':
            self[name] = self._attended()
        elif name in ('token_keys', 'prompt_keys'):
            state = self._state
            rows = state.tokens if name == 'token_keys' else state.prompts
            self[name] = None if rows is None else self._projected(rows, KEY, 1)
        else:
            raise KeyError(name)
        self[name] = self._vit.wide(self[name])
        return self[name]

    def _projected(self, rows: Tensor, first: int, parts: int) -> Tensor:
        """Return parts of the projection of rows entering the layer."""
        layer = self._vit.layers[self._state.layer]
        return layer.attn.project(layer.ln1(rows), first, parts)

    def _attended(self) -> Tensor:
        state, attn = self._state, self._vit.layers[self._state.layer].attn
        tokens, prompts = state.tokens, state.prompts
        query, key, value = self._projected(tokens, QUERY, 3).chunk(3, dim=-1)
        query, key = (attn.rotate(x, state.reads.rotation) for x in (query, key))
        seen = torch.cat([key, value], dim=-1)
        if prompts is not None:
            others = self._projected(prompts, KEY, 2).expand(tokens.shape[0], -1, -1)
            seen = torch.cat([seen, others], dim=1)
        return attn.attend(query, seen)


class FrozenHost:
    """The frozen ViT, as :meth:`BasePrompt.initialise` may use it.

    Nothing has a gradient. What runs is in eval mode only if the backbone is. What is
    given out is in float32, whatever ``frozen_dtype`` says.

    Args:
        vit: The backbone.
        loss: The loss of the whole model, called with images and labels.
    """

    def __init__(
        self,
        vit: PromptedVisionTransformer,
        loss: Callable[[Tensor, Any], Tensor] | None = None,
    ) -> None:
        self._vit = vit
        self._loss = loss
        self.num_layers: int = vit.num_layers
        self.num_heads: int = vit.layers[0].attn.num_heads
        self.num_extra: int = vit.num_extra_tokens

    @torch.no_grad()
    def embed(self, images: Tensor, positions: bool = True) -> Tensor:
        """Return what enters layer 0, (B, E + N, C).

        Args:
            images: Normalised, (B, 3, H, W).
            positions: If not, the projected patches alone, without position embedding,
                (B, N, C).
        """
        vit = self._vit
        if positions:
            return vit.wide(vit.embed(images)[0])
        return vit.wide(vit.patch_embed(vit.entering(images))[0])

    def trace(self, images: Tensor, prompted: bool = False) -> Iterator[Seen]:
        """Yield what can be read of each layer, in order, before the layer runs.

        A reader may stop early: layers behind do not run then.

        Args:
            images: Normalised, (B, 3, H, W).
            prompted: Whether the prompt's present values take part.
        """
        vit = self._vit
        with torch.no_grad():
            begin = vit.start(*vit.embed(images), prompted=prompted)
        steps = vit.walk(begin, vit.num_layers - 1)
        for _ in vit.layers:
            with torch.no_grad():
                seen = Seen(vit, next(steps))
            yield seen

    @torch.no_grad()
    def layer(self, i: int, tokens: Tensor) -> Tensor:
        """Run layer ``i`` on tokens (b, t, C) alone, all rows, (b, t, C)."""
        return self._vit.wide(self._vit.layers[i](self._vit.entering(tokens)))

    def query(self, i: int) -> tuple[Tensor, Tensor]:
        """Return W (C, C) and b (C,) of layer ``i``'s queries, x W^T + b."""
        return self._projection(i, QUERY)

    def key(self, i: int) -> tuple[Tensor, Tensor]:
        """Return W (C, C) and b (C,) of layer ``i``'s keys, x W^T + b."""
        return self._projection(i, KEY)

    def value(self, i: int) -> tuple[Tensor, Tensor]:
        """Return W (C, C) and b (C,) of layer ``i``'s values, x W^T + b."""
        return self._projection(i, VALUE)

    def _projection(self, i: int, part: int) -> tuple[Tensor, Tensor]:
        fused = self._vit.layers[i].attn.qkv
        weight = self._vit.wide(fused.weight.detach()).chunk(3)[part]
        if fused.bias is None:
            return weight, weight.new_zeros(len(weight))
        return weight, self._vit.wide(fused.bias.detach()).chunk(3)[part]

    @torch.no_grad()
    def loss(self, images: Tensor, labels: Any) -> Tensor:
        """Return the loss of the whole model as it stands, a scalar.

        Args:
            images: Normalised, (B, 3, H, W).
            labels: What came with them.

        Raises:
            UserError: If this host was given no loss.
        """
        if self._loss is None:
            raise UserError(
                'this FrozenHost has no loss: give it one, FrozenHost(vit, loss=...), '
                'called with images and labels. PromptInitHook does.'
            )
        return self._loss(images, labels)
