# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What a prompt sees of the backbone when it starts from training images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mmvpt.errors import UserError

from .layer import attend, project, prompted_layer

if TYPE_CHECKING:
    from .vit import PromptedVisionTransformer

QUERY, KEY, VALUE = range(3)


class Seen(dict):
    """What can be read where a layer begins; computed when it is first read.

    ``tokens`` (B, E + N, C) enter it and ``prompts`` (1 or B, M, C), or None;
    ``token_keys`` (B, E + N, C) and ``prompt_keys`` (1 or B, M, C) are their keys, with
    bias, heads side by side; ``attended`` (B, E + N, C) is the attention output at the
    tokens before the output projection. E is ``num_extra``.
    """

    def __init__(self, layer: nn.Module, tokens: Tensor, prompts: Tensor | None):
        super().__init__(tokens=tokens, prompts=prompts)
        self._layer = layer

    @torch.no_grad()
    def __missing__(self, name: str) -> Tensor | None:
        if name == 'attended':
            self[name] = self._attended()
        elif name in ('token_keys', 'prompt_keys'):
            rows = self['tokens' if name == 'token_keys' else 'prompts']
            self[name] = None if rows is None else self._projected(rows)[1]
        else:
            raise KeyError(name)
        return self[name]

    def _projected(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return queries and keys of rows entering the layer."""
        query, seen = project(self._layer.attn, self._layer.ln1(rows))
        return query, seen[..., : query.shape[-1]]

    def _attended(self) -> Tensor:
        attn, tokens, prompts = self._layer.attn, self['tokens'], self['prompts']
        query, seen = project(attn, self._layer.ln1(tokens))
        if prompts is not None:
            others = project(attn, self._layer.ln1(prompts))[1]
            seen = torch.cat([seen, others.expand(len(tokens), -1, -1)], dim=1)
        return attend(attn, query, seen)


class FrozenHost:
    """The frozen ViT, as :meth:`BasePrompt.initialise` may use it.

    Nothing has a gradient. What runs is in eval mode only if the backbone is.

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
        if positions:
            return self._vit.embed(images)[0]
        return self._vit.patch_embed(images)[0]

    def trace(self, images: Tensor, prompted: bool = False) -> Iterator[Seen]:
        """Yield what can be read of each layer, in order, before the layer runs.

        A reader may stop early: layers behind do not run then.

        Args:
            images: Normalised, (B, 3, H, W).
            prompted: Whether the prompt's present values take part.
        """
        vit, prompt = self._vit, self._vit.prompt if prompted else None
        with torch.no_grad():
            tokens, grid = vit.embed(images)
        prompts = left = None
        for i, layer in enumerate(vit.layers):
            with torch.no_grad():
                if prompt is not None:
                    patches = tokens[:, self.num_extra :]
                    prompts = prompt(i, patches, grid, entered=prompts, left=left)
                seen = Seen(layer, tokens, prompts)
            yield seen
            with torch.no_grad():
                tokens, left, _ = prompted_layer(
                    layer,
                    tokens,
                    prompts,
                    num_extra=self.num_extra,
                    keep_prompts=prompts is not None and prompt.keeps_outputs,
                    mask=prompt is not None and prompt.mask,
                    temperature=None if prompt is None else prompt.temperature(i),
                )

    @torch.no_grad()
    def layer(self, i: int, tokens: Tensor) -> Tensor:
        """Run layer ``i`` on tokens (b, t, C) alone, all rows, (b, t, C)."""
        return prompted_layer(self._vit.layers[i], tokens)[0]

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
        weight = fused.weight.detach().chunk(3)[part]
        if fused.bias is None:
            return weight, weight.new_zeros(len(weight))
        return weight, fused.bias.detach().chunk(3)[part]

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
