# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Gated Prompt Tuning (Yoo et al., ICML 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvpt.errors import UserError
from mmvpt.registry import PROMPTS

from .base import BasePrompt, drop_for_each_image, patch_uniform_, positive, rate


@PROMPTS.register_module()
class GatedPrompt(BasePrompt):
    r"""Prompts that enter once and are gated after every layer but the last.

    With :math:`Z_0 = \mathrm{dropout}(P)`, :math:`\tilde Z_l` what layer :math:`l` of 1
    to L writes at its prompts, and :math:`g_l = \sigma(\gamma_l)`,

    .. math::
        [x_l, \tilde Z_l, E_l] &= L_l([x_{l-1}, Z_{l-1}, E_{l-1}]; \tau_l) \\
        Z_l &= g_l \tilde Z_l + (1 - g_l) Z_{l-1}, \quad l < L

    where layer :math:`l` divides its attention logits by :math:`\tau_l`. With open
    gates and temperatures of 1 this is VPT-shallow; with closed gates every layer reads
    P.

    Parameters: ``tokens`` (M, C), ``gate_logits`` :math:`\gamma` (L - 1,) and
    ``temperatures`` :math:`\tau` (L,); one number for each layer, whatever the image,
    prompt, channel or head. Temperatures are clamped to ``temperature_range`` in place
    and outside autograd when a forward begins, in eval mode too: projected gradient
    descent, so a gradient at a bound is not masked.

    Source: `Improving Visual Prompt Tuning for Self-supervised Vision Transformers
    <https://arxiv.org/abs/2306.05067>`_; sign of the gates, clamp, dropout and
    initialisation from its `code <https://github.com/ryongithub/GatedPromptTuning>`_.

    Args:
        num_tokens: Prompts (M).
        gates: ``soft``; ``hard``: 0 or 1, drawn by a Gumbel-sigmoid with
            straight-through gradient in training, open where the logit is positive in
            eval (the paper's ablation, of which no code is released); False: none, the
            layer's output goes on.
        gate_init: All gate logits start at **minus** this value, as in the code and the
            paper's tables: 5 is a gate of 0.0067.
        temperatures: Whether temperatures are learned; they start at 1.
        temperature_range: Smallest and largest temperature.
        drop_rate: Dropout on the prompts as they enter, drawn for each image; the gates
            carry the same mask through all layers.
        **host: What the backbone fills in, see :class:`BasePrompt`.

    Raises:
        UserError: For a count below 1, a rate outside [0, 1), an unknown kind of gate
            or an empty or non-positive range.
    """

    keeps_outputs = True

    def __init__(
        self,
        num_tokens: int,
        gates: str | bool = 'soft',
        gate_init: float = 5.0,
        temperatures: bool = True,
        temperature_range: tuple[float, float] = (0.01, 10.0),
        drop_rate: float = 0.1,
        **host,
    ) -> None:
        super().__init__(**host)
        positive(num_tokens=num_tokens)
        rate(drop_rate=drop_rate)
        if gates not in ('soft', 'hard') and gates is not False:
            raise UserError(f"gates must be 'soft', 'hard' or False, got {gates!r}.")
        low, high = temperature_range
        if not 0 < low < high:
            raise UserError(
                'temperature_range must be (low, high) with 0 < low < high, got '
                f'{temperature_range!r}.'
            )
        self.num_tokens = num_tokens
        self.gates = gates
        self.temperature_range = (low, high)
        self.tokens = nn.Parameter(
            patch_uniform_(torch.empty(num_tokens, self.embed_dims), self.patch_size)
        )
        self.gate_logits = self.temperatures = None
        if gates:
            init = torch.full((self.num_layers - 1,), -float(gate_init))
            self.gate_logits = nn.Parameter(init)
        if temperatures:
            self.temperatures = nn.Parameter(torch.ones(self.num_layers))
        self.dropout = nn.Dropout(drop_rate)

    @property
    def last_layer(self) -> int:
        """The last layer of all, or layer 0 with neither gates nor temperatures."""
        if self.gate_logits is None and self.temperatures is None:
            return 0
        return self.num_layers - 1

    def forward(
        self,
        i: int,
        patches: Tensor,
        grid: tuple[int, int],
        entered: Tensor | None = None,
        left: Tensor | None = None,
    ) -> Tensor:
        """Return the learned tokens for layer 0, afterwards the gated mix.

        Shapes as in :meth:`BasePrompt.forward`.
        """
        if i == 0:
            if self.temperatures is not None and not self._in_fixed_graph():
                with torch.no_grad():
                    self.temperatures.clamp_(*self.temperature_range)
            return drop_for_each_image(self.tokens, self.dropout, patches.shape[0])
        if self.gate_logits is None:
            return left
        gate = self.gate(i - 1)
        return gate * left + (1 - gate) * entered

    def gate(self, i: int) -> Tensor:
        """Return the gate after layer ``i``, a scalar in [0, 1]."""
        logit = self.gate_logits[i]
        if self.gates == 'soft':
            return logit.sigmoid()
        if not self.training:
            return (logit > 0).to(logit.dtype)
        # The difference of two Gumbel variables is logistic.
        uniform = torch.rand_like(logit).clamp(1e-6, 1 - 1e-6)
        soft = (logit + uniform.logit()).sigmoid()
        return (soft > 0.5).to(soft.dtype) + (soft - soft.detach())

    def temperature(self, i: int) -> Tensor | None:
        """Return what divides the attention logits of layer ``i``, a scalar."""
        if self.temperatures is None:
            return None
        # A copy, since a later forward, which clamps, may come before this backward.
        value = self.temperatures[i].clone()
        return value.clamp(*self.temperature_range) if self._in_fixed_graph() else value

    def _in_fixed_graph(self) -> bool:
        """Whether a graph for evaluation is made, which must not change parameters."""
        return not self.training and torch.compiler.is_compiling()

    def selection_ratio(self) -> Tensor:
        """Return each layer's share of what the last layer gets, (L - 1,).

        See :func:`selection_ratio`.

        Raises:
            UserError: If there are no gates.
        """
        if self.gate_logits is None:
            raise UserError('gates=False has no selection ratio; use soft or hard.')
        return selection_ratio(self.gate_logits.detach())


def selection_ratio(gate_logits: Tensor) -> Tensor:
    r"""Return how much each layer contributes to the prompts of the last layer.

    Unrolled, :math:`Z_{L-1} = \prod_k (1 - g_k) Z_0 + \sum_l \tilde g_l \tilde Z_l`
    with :math:`\tilde g_l = g_l \prod_{k > l} (1 - g_k)`; the ratio is
    :math:`\tilde g_l / \sum_k \tilde g_k`, computed in logarithms, since gates may be
    as small as :math:`\sigma(-20)`. For hard gates :math:`g_l` is the probability of an
    open gate.

    Source: Gated Prompt Tuning, Eq. 8 and Fig. 4.

    Args:
        gate_logits: (L - 1,).

    Returns:
        (L - 1,), which sums to 1.
    """
    closed = F.logsigmoid(-gate_logits)
    after = closed.flip(0).cumsum(0).flip(0) - closed
    return (F.logsigmoid(gate_logits) + after).softmax(0)
