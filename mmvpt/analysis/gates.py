# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Gates, temperatures and selection ratio of Gated Prompt Tuning."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmvpt.errors import UserError
from mmvpt.models.prompts.gated import selection_ratio


def gate_arrays(
    gate_logits: Tensor | None, temperatures: Tensor | None = None
) -> dict[str, np.ndarray]:
    r"""Say which layers' prompts the last layer gets.

    With :math:`g_l` the gate behind layer l, what the last layer gets is a mean of the
    learned prompts P, with weight :math:`\prod_k (1 - g_k)`, and of what each layer
    wrote, with weight :math:`\tilde g_l = g_l \prod_{k > l} (1 - g_k)`.

    Source: Gated Prompt Tuning, Eq. 8 and Fig. 4.

    Args:
        gate_logits: (L - 1,), or None if the model has temperatures alone.
        temperatures: (L,), or None if the model has none.

    Returns:
        ``gates`` (L - 1,); ``weights`` (L,), that of P first, which sum to 1;
        ``selection_ratio`` (L - 1,), the others divided by their sum;
        ``temperatures`` (L,). What the model lacks is not there.
    """
    arrays = {}
    if gate_logits is not None:
        gate_logits = gate_logits.detach().double()
        closed = F.logsigmoid(-gate_logits)
        after = closed.flip(0).cumsum(0).flip(0) - closed
        written = (F.logsigmoid(gate_logits) + after).exp()
        arrays['gates'] = gate_logits.sigmoid()
        arrays['weights'] = torch.cat([closed.sum().exp()[None], written])
        arrays['selection_ratio'] = selection_ratio(gate_logits)
    if temperatures is not None:
        arrays['temperatures'] = temperatures.detach().double()
    return {name: array.cpu().numpy() for name, array in arrays.items()}


def gates_of_state(state: dict[str, Tensor], source: str) -> dict[str, np.ndarray]:
    """Read gates and temperatures from the weights of a model.

    Args:
        state: Weights by name, under any prefix.
        source: Where they come from, for messages.

    Returns:
        As :func:`gate_arrays`.

    Raises:
        UserError: If there are neither gates nor temperatures, or several of them.
    """

    def only(name: str) -> Tensor | None:
        keys = [key for key in state if key == name or key.endswith(f'.{name}')]
        if len(keys) > 1:
            raise UserError(f'{source} has several of them: {", ".join(keys)}.')
        return state[keys[0]] if keys else None

    logits, temperatures = only('prompt.gate_logits'), only('prompt.temperatures')
    if logits is None and temperatures is None:
        raise UserError(
            f'{source} has neither prompt.gate_logits nor prompt.temperatures: it is '
            'no model of GatedPrompt, or one with gates=False and temperatures=False.'
        )
    return gate_arrays(logits, temperatures)
