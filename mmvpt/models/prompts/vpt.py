# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Visual Prompt Tuning (Jia et al., ECCV 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmvpt.errors import UserError
from mmvpt.registry import PROMPTS

from .base import BasePrompt, drop_for_each_image, patch_uniform_, positive, rate


class _LearnedPrompt(BasePrompt):
    """Learned tokens with dropout and an optional projection to the ViT's width."""

    def __init__(
        self,
        num_tokens: int,
        rows: tuple[int, ...],
        drop_rate: float,
        project_dims: int | None,
        **host,
    ) -> None:
        super().__init__(**host)
        positive(num_tokens=num_tokens)
        rate(drop_rate=drop_rate)
        self.num_tokens = num_tokens
        dims = self.embed_dims
        self.projection = nn.Identity()
        if project_dims is not None:
            positive(project_dims=project_dims)
            dims = project_dims
            self.projection = nn.Linear(dims, self.embed_dims)
            nn.init.kaiming_normal_(self.projection.weight, a=0, mode='fan_out')
        self.tokens = nn.Parameter(
            patch_uniform_(torch.empty(*rows, num_tokens, dims), self.patch_size)
        )
        self.dropout = nn.Dropout(drop_rate)

    def _learned(self, tokens: Tensor, batch_size: int) -> Tensor:
        """Project (M, D) to (1, M, C); with active dropout to (B, M, C)."""
        return drop_for_each_image(self.projection(tokens), self.dropout, batch_size)


@PROMPTS.register_module()
class ShallowPrompt(_LearnedPrompt):
    r"""VPT-shallow: learned tokens that enter the first layer and live through all.

    :math:`[x_1, Z_1, E_1] = L_1([x_0, P, E_0])` and
    :math:`[x_i, Z_i, E_i] = L_i([x_{i-1}, Z_{i-1}, E_{i-1}])` for the layers after it.
    Parameter ``tokens`` (M, C), or (M, project_dims).

    Source: `VPT <https://arxiv.org/abs/2203.12119>`_, Eq. 4 and 5, and its released
    code for initialisation, dropout and projection.

    Args:
        num_tokens: Prompts (M).
        drop_rate: Dropout on the prompts as they enter, drawn for each image. The
            paper's recipe has 0 for shallow.
        project_dims: Width of the learned tokens if it differs from the ViT's; a
            learned linear layer then maps them to C channels.
        **host: What the backbone fills in, see :class:`BasePrompt`.

    Raises:
        UserError: If a count is below 1 or the rate is not in [0, 1).
    """

    keeps_outputs = True

    def __init__(
        self,
        num_tokens: int,
        drop_rate: float = 0.0,
        project_dims: int | None = None,
        **host,
    ) -> None:
        super().__init__(num_tokens, (), drop_rate, project_dims, **host)

    @property
    def last_layer(self) -> int:
        """Layer 0: what comes after only passes the prompts on."""
        return 0

    def forward(
        self,
        i: int,
        patches: Tensor,
        grid: tuple[int, int],
        entered: Tensor | None = None,
        left: Tensor | None = None,
    ) -> Tensor:
        """Return the learned tokens for layer 0, afterwards what the last layer wrote.

        Shapes as in :meth:`BasePrompt.forward`.
        """
        return self._learned(self.tokens, patches.shape[0]) if i == 0 else left


@PROMPTS.register_module()
class DeepPrompt(_LearnedPrompt):
    r"""VPT-deep: fresh learned tokens at every layer.

    :math:`[x_i, \_, E_i] = L_i([x_{i-1}, P_{i-1}, E_{i-1}])`: what a layer writes at
    its prompts is thrown away. Parameter ``tokens`` (L, M, C), or (L, M, project_dims);
    the projection is shared by all layers. L is the number of layers with prompts.

    Source: `VPT <https://arxiv.org/abs/2203.12119>`_, Eq. 6, and its released code for
    initialisation, dropout and projection.

    Args:
        num_tokens: Prompts of each layer (M).
        drop_rate: Dropout on the prompts, drawn for each image and layer. The paper's
            recipe has 0.1 for deep.
        project_dims: Width of the learned tokens if it differs from the ViT's; a
            learned linear layer then maps them to C channels.
        layers: Which layers get prompts, ascending; all if None. The layers before the
            first one can be cached, see ``PrefixCacheHook``.
        **host: What the backbone fills in, see :class:`BasePrompt`.

    Raises:
        UserError: If a count is below 1, the rate is not in [0, 1), or ``layers`` are
            not ascending layers of the ViT.
    """

    def __init__(
        self,
        num_tokens: int,
        drop_rate: float = 0.0,
        project_dims: int | None = None,
        layers: Sequence[int] | None = None,
        **host,
    ) -> None:
        depth = host['num_layers']
        chosen = list(range(depth)) if layers is None else list(layers)
        if not chosen or chosen != sorted(set(chosen) & set(range(depth))):
            raise UserError(
                f'layers must be ascending numbers from 0 to {depth - 1}, got {layers}.'
            )
        super().__init__(num_tokens, (len(chosen),), drop_rate, project_dims, **host)
        self._rows = {layer: row for row, layer in enumerate(chosen)}

    @property
    def first_layer(self) -> int:
        """The first of ``layers``."""
        return min(self._rows)

    @property
    def last_layer(self) -> int:
        """The last of ``layers``."""
        return max(self._rows)

    def is_static(self, i: int) -> bool:
        """Every layer's."""
        return True

    def forward(
        self,
        i: int,
        patches: Tensor,
        grid: tuple[int, int],
        entered: Tensor | None = None,
        left: Tensor | None = None,
    ) -> Tensor | None:
        """Return the learned tokens of layer ``i``, None if it has none.

        Shapes as in :meth:`BasePrompt.forward`.
        """
        if i not in self._rows:
            return None
        return self._learned(self.tokens[self._rows[i]], patches.shape[0])
