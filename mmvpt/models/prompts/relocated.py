# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""PRO-VPT: prompts that move between layers (Shang et al., ICCV 2025)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from mmvpt.errors import UserError
from mmvpt.registry import PROMPTS

from .base import BasePrompt, drop_for_each_image, patch_uniform_, positive, rate

#: What a prompt is multiplied by when it moves.
SHRINK = 1e-3
#: Of the policy's updates: steps, clip of the ratio, weights of value and entropy loss.
STEPS, CLIP, VALUE, ENTROPY = 60, 0.2, 0.5, 0.01
ACTOR_LR, CRITIC_LR, HIDDEN = 3e-4, 1e-3, 64


@PROMPTS.register_module()
class RelocatedPrompt(BasePrompt):
    r"""VPT-deep with an uneven number of prompts in each layer.

    Layer i gets its :math:`M_i` prompts, fresh, or none; :math:`\sum_i M_i = LM`. They
    start as M in each layer; ``PromptRelocationHook`` moves one now and then.

    Parameter ``tokens`` (L M, C), a fixed row for each prompt whatever its layer, so
    that the optimizer's state moves with it; buffer ``layer_of`` (L M,).

    Source: `PRO-VPT <https://arxiv.org/abs/2503.06901>`_ and its
    `code <https://github.com/ckshang/PRO-VPT>`_.

    Args:
        num_tokens: Prompts of each layer at the start (M).
        drop_rate: Dropout on the prompts, drawn for each image and layer.
        **host: What the backbone fills in, see :class:`BasePrompt`.

    Raises:
        UserError: If the ViT has a single layer, so that nothing can move.
    """

    def __init__(self, num_tokens: int, drop_rate: float = 0.1, **host) -> None:
        super().__init__(**host)
        positive(num_tokens=num_tokens)
        rate(drop_rate=drop_rate)
        if self.num_layers < 2:
            raise UserError(
                'RelocatedPrompt moves prompts between layers, but the ViT has one. '
                'Use DeepPrompt.'
            )
        self.num_tokens = num_tokens
        rows = self.num_layers * num_tokens
        tokens = torch.empty(rows, self.embed_dims)
        self.tokens = nn.Parameter(patch_uniform_(tokens, self.patch_size))
        self.register_buffer('layer_of', torch.arange(rows) // num_tokens)
        self.dropout = nn.Dropout(drop_rate)
        self._index([row // num_tokens for row in range(rows)])

    def _index(self, layer_of: list[int]) -> None:
        """List the rows of each layer: numbers, which compilers can see through."""
        self._rows: list[list[int]] = [[] for _ in range(self.num_layers)]
        for row, layer in enumerate(layer_of):
            self._rows[layer].append(row)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        given = state_dict.get(f'{prefix}layer_of')
        if given is not None and given.shape == self.layer_of.shape:
            if not ((given >= 0) & (given < self.num_layers)).all():
                raise UserError(
                    f'{prefix}layer_of of the checkpoint names layers that this ViT of '
                    f'{self.num_layers} layers does not have. Set arch as it was '
                    'trained.'
                )
        super()._load_from_state_dict(state_dict, prefix, *args)
        if not self.layer_of.is_meta:
            self._index(self.layer_of.tolist())

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
        """Return the prompts of layer ``i``, None if it has none.

        Shapes as in :meth:`BasePrompt.forward`.
        """
        rows = self._rows[i]
        if not rows:
            return None
        return drop_for_each_image(self.tokens[rows], self.dropout, patches.shape[0])

    def counts(self) -> Tensor:
        """Return how many prompts each layer has, (L,)."""
        return torch.bincount(self.layer_of, minlength=self.num_layers)

    def idleness(self, grad: Tensor) -> Tensor:
        """Return how much the loss falls, to first order, without each prompt, (L M,).

        It is the derivative by a gate of 1 that multiplies the prompt.

        Args:
            grad: The loss's derivative by ``tokens``, (L M, C).
        """
        return (grad * self.tokens.detach()).sum(-1)

    def relocate(self, row: int, layer: int) -> None:
        """Move a prompt to the end of another layer and shrink it.

        Nothing happens if it is there already.

        Args:
            row: Its row in ``tokens``.
            layer: Where it goes.
        """
        if int(self.layer_of[row]) == layer:
            return
        with torch.no_grad():
            self.layer_of[row] = layer
            self.tokens[row] *= SHRINK
        self._index(self.layer_of.tolist())


class AllocationPolicy(nn.Module):
    """The policy that chooses to which layer a prompt goes, learned by PPO.

    Not part of the model: it is thrown away after training. Its optimizer,
    ``self.optimizer``, lives as long as it does.

    Args:
        num_layers: Layers of the ViT (L).
    """

    def __init__(self, num_layers: int) -> None:
        super().__init__()

        def network(outputs: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(3 * num_layers, HIDDEN),
                nn.Tanh(),
                nn.Linear(HIDDEN, HIDDEN),
                nn.Tanh(),
                nn.Linear(HIDDEN, outputs),
            )

        self.num_layers = num_layers
        self.actor = network(num_layers)
        self.critic = network(1)
        self.optimizer = torch.optim.Adam(
            [
                dict(params=self.actor.parameters(), lr=ACTOR_LR),
                dict(params=self.critic.parameters(), lr=CRITIC_LR),
            ]
        )

    def context(self, scores: Tensor, counts: Tensor, source: int) -> Tensor:
        """Return what the policy sees, (3L,).

        Standardised scores (population deviation), the share of the other prompts that
        each layer has, and the layer that loses one.

        Args:
            scores: Sum of the prompts' scores in each layer, (L,).
            counts: Prompts of each layer before the removal, (L,).
            source: The layer that loses one.
        """
        dtype = next(self.parameters()).dtype
        scores, counts = scores.to(dtype), counts.to(dtype)
        spread = scores.std(correction=0) + 1e-8
        here = torch.zeros_like(scores)
        here[source] = 1
        share = (counts - here) / (counts.sum() - 1)
        return torch.cat([(scores - scores.mean()) / spread, share, here])

    @torch.no_grad()
    def probabilities(self, context: Tensor) -> Tensor:
        """Return the probability of each layer, (L,)."""
        return self.actor(context).softmax(-1)

    @torch.no_grad()
    def value(self, context: Tensor) -> Tensor:
        """Return the expected return, a scalar."""
        return self.critic(context).squeeze(-1)

    def update(
        self,
        contexts: Tensor,
        actions: Tensor,
        log_probs: Tensor,
        values: Tensor,
        rewards: Tensor,
    ) -> Tensor:
        """Learn from what came of n choices; return the mean loss over the steps.

        Returns are undiscounted and normalised by their sample deviation. Steps whose
        loss is not finite are left out.

        Args:
            contexts: (n, 3L).
            actions: Chosen layers, (n,).
            log_probs: As they were when they were chosen, (n,).
            values: The same, (n,).
            rewards: (n,).
        """
        returns = rewards.flip(0).cumsum(0).flip(0)
        returns = (returns - returns.mean()) / (returns.std() + 1e-8)
        advantages = returns - values
        losses = []
        for _ in range(STEPS):
            chosen = Categorical(logits=self.actor(contexts))
            ratio = (chosen.log_prob(actions) - log_probs).exp()
            clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
            gain = torch.minimum(ratio * advantages, clipped * advantages)
            error = (self.critic(contexts).squeeze(-1) - returns).square().mean()
            loss = VALUE * error - (gain + ENTROPY * chosen.entropy()).mean()
            losses.append(loss.detach())
            if not loss.isfinite():
                continue
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return torch.stack(losses).mean()
