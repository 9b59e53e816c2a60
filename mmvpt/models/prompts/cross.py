# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Cross Visual Prompt Tuning (Huang et al., ICCV 2025)."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from mmvpt.errors import one_of
from mmvpt.registry import PROMPTS

from .base import POSITIONS
from .depth import DepthPrompt


@PROMPTS.register_module()
class CrossPrompt(DepthPrompt):
    r"""Prompts outside of the sequence, which every layer asks by cross-attention.

    With the projections of layer i, biases included, and no norm on either side,

    .. math::
        X'_i(x) = \mathrm{proj}(\mathrm{softmax}((x W_q + b_q)(P_i W_k + b_k)^T
        / \sqrt d)(P_i W_v + b_v))

    is added at the place that ``position`` names. Queries are all T = 1 + N tokens,
    keys and values the M prompts of the layer alone. Zero prompts do not leave the ViT
    as it is: they add one vector, made of its biases, to every token.

    Parameter ``tokens`` (L, M, C). A tuned bias or an adapter of the layer's
    projections acts in both attentions, which share them.

    Source: `CVPT <https://arxiv.org/abs/2408.14961>`_; order, initialisation and
    dropout from its `code <https://github.com/Lingyun0419/CVPT>`_.

    Args:
        num_tokens: Prompts of each layer (M). One is a bias of each layer: a softmax
            over one key is 1, whatever the query.
        position: ``before`` the layer, added under the residual of its ``attention``,
            ``between`` its halves (the paper's choice), to the input of the ``mlp``
            behind its norm, or ``after`` the layer.
        drop_rate: Dropout on the prompts, drawn for each image and layer.
        init: ``xavier``: :math:`U(-b, b)` with :math:`b = \sqrt{6 / ((M + L) C)}`;
            ``zeros``.
        **host: What the backbone fills in, see :class:`BasePrompt`.

    Raises:
        UserError: For a count, rate, position or initialisation that is not allowed.
    """

    def __init__(
        self,
        num_tokens: int = 10,
        position: str = 'between',
        drop_rate: float = 0.1,
        init: str = 'xavier',
        **host,
    ) -> None:
        super().__init__(num_tokens, 'deep', drop_rate, **host)
        places = tuple(place for place in POSITIONS if place != 'sequence')
        one_of('position', position, places)
        one_of('init', init, ('xavier', 'zeros'))
        if num_tokens == 1:
            warnings.warn(
                'num_tokens=1 makes CrossPrompt a learned bias of each layer: softmax '
                'over one key is 1, whatever the image.',
                stacklevel=2,
            )
        self.position = position
        self.tokens = nn.Parameter(
            torch.zeros(self.num_layers, num_tokens, self.embed_dims)
        )
        if init == 'xavier':  # over the tensor of all layers: fans M C and L C
            nn.init.xavier_uniform_(self.tokens)
