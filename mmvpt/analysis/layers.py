# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What enters every layer of a prompted backbone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmvpt.errors import UserError
from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.models.vit.rotation import Rotation


@dataclass(frozen=True)
class LayerInput:
    """What enters one layer.

    Args:
        layer: Index of the layer, from 0.
        tokens: CLS, registers and patches, (B, num_extra + N, C).
        prompts: Prompts, (1, M, C) if the images share them, else (B, M, C); None for a
            layer without prompts.
        grid: Rows and columns of the patches, N = rows * columns.
        num_extra: Rows before the patches: CLS, if there is one, and registers.
        rotation: How queries and keys of ``tokens`` turn, None if they do not.
    """

    layer: int
    tokens: Tensor
    prompts: Tensor | None
    grid: tuple[int, int]
    num_extra: int
    rotation: Rotation | None = None

    @property
    def num_prompts(self) -> int:
        """Number of prompts (M)."""
        return 0 if self.prompts is None else self.prompts.shape[1]

    def sequence(self) -> Tensor:
        """Return [CLS, registers, prompts, patches], (B, T, C)."""
        extra, patches = self.tokens.split(
            [self.num_extra, self.tokens.shape[1] - self.num_extra], dim=1
        )
        if self.prompts is None:
            return self.tokens
        prompts = self.prompts.expand(len(self.tokens), -1, -1)
        return torch.cat([extra, prompts, patches], dim=1)


def prompted_backbone(model: nn.Module) -> PromptedVisionTransformer:
    """Find the backbone that has prompts in a classifier, segmentor or any model.

    Args:
        model: Any module; the backbone itself will do.

    Raises:
        UserError: If there is none, more than one, or one without prompts.
    """
    found = [m for m in model.modules() if isinstance(m, PromptedVisionTransformer)]
    if len(found) != 1:
        raise UserError(
            f'{type(model).__name__} has {len(found)} PromptedVisionTransformer in it, '
            'but exactly one is needed: give a model of an mmvpt config.'
        )
    if found[0].prompt is None:
        raise UserError(
            'the backbone has no prompts (prompt=None), so there is nothing to look '
            'at. Give a model that was tuned with prompts.'
        )
    return found[0]


@torch.no_grad()
def read_layers(
    backbone: PromptedVisionTransformer, inputs: Tensor
) -> list[LayerInput]:
    """Run the backbone in eval mode and keep what enters each of its layers.

    Args:
        backbone: See :func:`prompted_backbone`. Its mode is put back at the end.
        inputs: Preprocessed images, (B, in_channels, height, width).

    Returns:
        One entry for each layer that runs, in order.
    """
    training, entered = backbone.training, []
    backbone.eval()
    try:
        for state in backbone.walk(backbone.start(*backbone.embed(inputs))):
            entered.append(
                LayerInput(
                    layer=state.layer,
                    tokens=state.tokens,
                    prompts=state.prompts,
                    grid=state.grid,
                    num_extra=backbone.num_extra_tokens,
                    rotation=state.reads.rotation,
                )
            )
            if state.layer == backbone.out_indices[-1]:
                break
    finally:
        backbone.train(training)
    return entered


def resolve_layer(backbone: PromptedVisionTransformer, layer: int | None) -> int:
    """Return the index of a layer from 0.

    Args:
        backbone: See :func:`prompted_backbone`.
        layer: Index, negative from the end; None for the last guided layer, or the last
            of all where none is guided.

    Raises:
        UserError: If that layer does not run.
    """
    count = backbone.out_indices[-1] + 1
    if layer is None:
        return max(backbone.prompt.guided_layers, default=count - 1)
    if not -count <= layer < count:
        raise UserError(
            f'layer must be from 0 to {count - 1}, or negative from the end, got '
            f'{layer}.'
        )
    return layer % count


def positive_prompts(
    backbone: PromptedVisionTransformer, layer: int, classes: Tensor | None
) -> Tensor | None:
    """Return the prompt that each image belongs to by DA-VPT's map.

    Args:
        backbone: See :func:`prompted_backbone`.
        layer: Index of the layer, from 0.
        classes: The class of each image, (B,), or which it has, bool (B, K).

    Returns:
        Indices of prompts, (B,), -1 where there is none; None if the classes are not
        known, the layer is not guided, or the map has not been made.
    """
    prompt = backbone.prompt
    if classes is None or layer not in prompt.guided_layers:
        return None
    if bool((prompt.class_to_prompt < 0).any()):
        return None
    return prompt.assign(classes.to(prompt.class_to_prompt.device))
