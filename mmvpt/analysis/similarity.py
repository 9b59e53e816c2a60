# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""How alike the prompts of all layers are."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import prompted_backbone, read_layers


@torch.no_grad()
def prompt_similarity(model: nn.Module, inputs: Tensor) -> dict[str, np.ndarray]:
    """Compare the prompts that enter all layers by their cosine.

    Prompts that depend on the image are compared within each image; the cosines are
    then averaged over the images.

    Args:
        model: A model with one prompted backbone.
        inputs: Preprocessed images, (B, in_channels, height, width).

    Returns:
        ``cosine`` (P, P) for the P prompts of all layers; ``layer`` and ``prompt``
        (P,), which ones they are; ``layers`` (L',), those with prompts, and ``means``
        (L', L'), the mean cosine between prompts of two layers, on the diagonal between
        different prompts of a layer (NaN if it has one).

    Raises:
        ValueError: If the model has no prompts.
    """
    entered = [
        one
        for one in read_layers(prompted_backbone(model), inputs)
        if one.prompts is not None
    ]
    count = max(len(one.prompts) for one in entered)
    rows = torch.cat([one.prompts.expand(count, -1, -1) for one in entered], dim=1)
    rows = F.normalize(rows.double(), dim=-1)
    cosine = (rows @ rows.mT).mean(dim=0).cpu().numpy()
    layers = np.array([one.layer for one in entered])
    owner = np.concatenate([[one.layer] * one.num_prompts for one in entered])
    number = np.concatenate([np.arange(one.num_prompts) for one in entered])
    different: np.ndarray = ~np.eye(len(cosine), dtype=bool)
    means = np.full((len(layers), len(layers)), np.nan)
    for a, first in enumerate(layers):
        for b, second in enumerate(layers):
            pairs = (owner[:, None] == first) & (owner[None] == second) & different
            if pairs.any():
                means[a, b] = cosine[pairs].mean()
    return dict(cosine=cosine, layer=owner, prompt=number, layers=layers, means=means)
