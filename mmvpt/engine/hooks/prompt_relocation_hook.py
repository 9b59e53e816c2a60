# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Moves a prompt to another layer before an epoch, as PRO-VPT does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine import dist
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor, nn

from mmvpt.engine.forward import unwrapped
from mmvpt.errors import UserError, one_of
from mmvpt.models.prompts.relocated import AllocationPolicy, RelocatedPrompt
from mmvpt.registry import HOOKS

ALLOCATIONS = ('ppo', 'thompson', 'random')
REWARDS = ('paper', 'released')
#: Name of the hook's state in a checkpoint.
STATE = 'prompt_relocation'


@HOOKS.register_module()
class PromptRelocationHook(Hook):
    r"""Move the idlest prompt to another layer, at most one at a time.

    Before an epoch's first step, one pass over the training images with gradients but
    without a step scores every prompt by
    :math:`\partial \ell / \partial g_k = \langle \partial \ell / \partial p_k, p_k
    \rangle`: how much the loss falls, to first order, without it. If the largest score
    is positive, that prompt goes where the allocation says; what came of the move is
    the next pass's reward.

    The pass leaves the model, its buffers and all random numbers as they were. The
    hook's state is part of checkpoints, so a resumed run moves what the whole run
    moved. What ``EMAHook`` averages moves along, shrunk as the prompt is.

    Source: `PRO-VPT <https://arxiv.org/abs/2503.06901>`_; differences of its code:
    docs/methods/provpt.md.

    Args:
        begin: The first epoch that is preceded by a pass, from 0.
        every: Epochs between passes.
        allocation: ``ppo``, :class:`AllocationPolicy`; ``thompson``: samples of a
            Beta distribution of successes for each layer; or ``random``.
        update_every: Rewards that an update of the policy is made of. With 2, as
            released, it knows the sign of the first alone.
        clip_scores: Norm that each batch's gradients by gates and by all other tuned
            parameters are cut to before they are read; the code has 0.25.
        reward: ``paper``: fall of the mean loss over images minus the moved prompt's
            score; ``released``: of the sum over batches of loss / images, minus the
            largest score of the new pass.

    Raises:
        UserError: For an unknown word, or a number that is too small.
    """

    priority = 'LOW'

    def __init__(
        self,
        begin: int = 1,
        every: int = 1,
        allocation: str = 'ppo',
        update_every: int = 4,
        clip_scores: float | None = None,
        reward: str = 'paper',
    ) -> None:
        one_of('allocation', allocation, ALLOCATIONS)
        one_of('reward', reward, REWARDS)
        least = 2 if allocation == 'ppo' else 1
        if begin < 0 or every < 1 or update_every < least:
            raise UserError(
                f'begin must be at least 0, every at least 1 and update_every at least '
                f'{least} with allocation={allocation!r} (rewards are divided by their '
                f'deviation); got {begin}, {every} and {update_every}.'
            )
        if clip_scores is not None and not clip_scores > 0:
            raise UserError(f'clip_scores must be positive, got {clip_scores!r}.')
        self.begin = begin
        self.every = every
        self.allocation = allocation
        self.update_every = update_every
        self.clip_scores = clip_scores
        self.reward = reward
        self.policy: AllocationPolicy | None = None
        #: Moves so far: epoch, row, layer it left, layer it went to.
        self.moves: list[tuple[int, int, int, int]] = []
        self._loaded: dict | None = None

    def before_train(self, runner: Runner) -> None:
        """Find the prompt and make the policy, or take it from the checkpoint."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise UserError(
                'PromptRelocationHook passes over the training images before an epoch, '
                'but training counts iterations. Set train_cfg.by_epoch=True.'
            )
        self.setup(unwrapped(runner.model), runner.seed)
        if self._loaded is not None:
            self._restore(self._loaded)
            self._loaded = None

    def setup(self, model: nn.Module, seed: int) -> None:
        """Find the prompt in a model and begin without a history.

        Raises:
            UserError: If there is not one ``RelocatedPrompt`` in it.
        """
        self.prompt = _prompt_of(model)
        self._seed = seed
        layers = self.prompt.num_layers
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.policy = AllocationPolicy(layers).double()
        self.moves = []
        # The loss of the pass before, and the score of the prompt that it moved; None
        # if it moved none.
        self._pending: tuple[float, float] | None = None
        self._steps: list[dict] = []  # choices, and rewards as they come
        self._tally = torch.zeros(2, layers, dtype=torch.float64)  # of Thompson

    def before_train_epoch(self, runner: Runner) -> None:
        """Score, learn from the move before, and move."""
        since = runner.epoch - self.begin
        if since < 0 or since % self.every:
            return
        scores, loss = self.score(runner)
        self.step(scores, loss, runner.epoch)
        if self.moves and self.moves[-1][0] == runner.epoch:
            _, row, source, target = self.moves[-1]
            for hook in runner.hooks:  # its buffers follow, which lists of rows do not
                if isinstance(hook, EMAHook):
                    _prompt_of(hook.ema_model.module).relocate(row, target)
            runner.logger.info(
                f'PromptRelocationHook: prompt {row} from layer {source} to {target}; '
                f'now {self.prompt.counts().tolist()}.'
            )

    def score(self, runner: Runner) -> tuple[Tensor, float]:
        """Return the score of each prompt, (L M,), and the loss, over all ranks.

        Both are means over images; with ``reward='released'`` scores are means over
        batches, and the loss is the sum of each batch's divided by its images.

        Args:
            runner: The runner, whose training images are passed over.
        """
        model = unwrapped(runner.model)
        buffers = [(b, b.clone()) for b in model.buffers()]
        released = self.reward == 'released'
        device = self.prompt.tokens.device
        total = torch.zeros(len(self.prompt.tokens) + 2, dtype=torch.float64)
        total = total.to(device)
        devices = [device] if device.type == 'cuda' else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(self._rng(runner.epoch, dist.get_rank()).integers(2**31))
            for batch in runner.train_dataloader:
                gates, loss, size = self._score_batch(runner, model, batch)
                weight = 1 if released else size
                total[:-2] += weight * gates
                total[-2] += loss / size if released else loss * size
                total[-1] += weight
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        dist.all_reduce(total)
        scores, loss = total[:-2] / total[-1], total[-2]
        return scores.cpu(), float(loss if released else loss / total[-1])

    def _score_batch(
        self, runner: Runner, model: nn.Module, batch: Any
    ) -> tuple[Tensor, Tensor, int]:
        """Return derivatives by gates (L M,), the loss, and the number of images."""
        data = model.data_preprocessor(batch, training=True)
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)  # of float16
        factor = 1.0 if scaler is None else scaler.get_scale()
        with runner.optim_wrapper.optim_context(model):
            losses = model(**data, mode='loss')
        loss = model.parse_losses(losses)[0]
        tokens = self.prompt.tokens
        others = [p for p in model.parameters() if p.requires_grad and p is not tokens]
        wanted = [tokens, *(others if self.clip_scores else ())]
        grads = torch.autograd.grad(loss * factor, wanted, allow_unused=True)
        grads = [g.double() / factor for g in grads if g is not None]
        gates = self.prompt.idleness(grads[0])
        if self.clip_scores:
            parts = [g.norm() for g in (gates, *grads[1:])]
            norm = torch.stack(parts).norm()
            gates = gates * (self.clip_scores / (norm + 1e-6)).clamp(max=1)
        return gates, loss.detach().double(), len(data['inputs'])

    def step(self, scores: Tensor, loss: float, epoch: int) -> None:
        """Take the reward of the move before, learn from it, and move.

        Args:
            scores: Of each prompt, (L M,).
            loss: Of the same pass.
            epoch: The epoch that follows, for the draws.
        """
        top = self._idlest(scores)
        if self._pending is not None:
            before, score = self._pending
            moved = float(scores[top]) if self.reward == 'released' else score
            self._learn(before - loss - moved)
        self._pending = None
        if not scores[top] > 0:
            return
        source = int(self.prompt.layer_of[top])
        target = self._allocate(scores, source, epoch)
        self._pending = loss, float(scores[top])
        if target != source:
            self.prompt.relocate(top, target)
            self.moves.append((epoch, top, source, target))

    def _idlest(self, scores: Tensor) -> int:
        """Return the row of the largest score; the lowest layer's among equal ones."""
        order = self.prompt.layer_of.cpu().argsort(stable=True)
        return int(order[scores[order].argmax()])

    def _allocate(self, scores: Tensor, source: int, epoch: int) -> int:
        """Choose a layer and note what the choice was made from; equal on all ranks."""
        layer_of = self.prompt.layer_of.cpu()
        layers = self.prompt.num_layers
        sums = torch.zeros(layers, dtype=torch.float64).index_add(0, layer_of, scores)
        context = self.policy.context(sums, self.prompt.counts().cpu(), source)
        if self.allocation == 'ppo':
            odds = self.policy.probabilities(context)
        else:
            odds = torch.full((layers,), 1 / layers, dtype=torch.float64)
        target = torch.tensor(self.draw(odds, epoch)).to(self.prompt.tokens.device)
        dist.broadcast(target)
        target = int(target)
        choice = dict(
            context=context, action=target, log_prob=float(odds[target].log())
        )
        self._steps.append(dict(choice, value=float(self.policy.value(context))))
        return target

    def draw(self, odds: Tensor, epoch: int) -> int:
        """Return a layer, from the seed of the run and the epoch.

        Args:
            odds: Probability of each layer, (L,).
            epoch: The epoch that follows.
        """
        rng = self._rng(epoch)
        if self.allocation == 'thompson':
            return int(rng.beta(*(1 + self._tally).numpy()).argmax())
        odds = odds.double().numpy()
        return int(rng.choice(len(odds), p=odds / odds.sum()))

    def _rng(self, epoch: int, rank: int | None = None) -> np.random.Generator:
        stream = [] if rank is None else [1 + rank]
        return np.random.default_rng([self._seed, epoch, *stream])

    def _learn(self, reward: float) -> None:
        """Note a reward, and update the policy when there are enough."""
        last = self._steps[-1]
        last['reward'] = reward
        self._tally[0 if reward >= 0 else 1, last['action']] += 1
        if len(self._steps) < self.update_every:
            return
        if self.allocation == 'ppo':
            self.policy.update(
                torch.stack([step['context'] for step in self._steps]),
                torch.tensor([step['action'] for step in self._steps]),
                *(
                    torch.tensor([s[name] for s in self._steps], dtype=torch.float64)
                    for name in ('log_prob', 'value', 'reward')
                ),
            )
        self._steps = []

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the hook's state."""
        loss, score = self._pending or (None, None)
        checkpoint[STATE] = dict(
            policy=self.policy.state_dict(),
            optimizer=self.policy.optimizer.state_dict(),
            tally=self._tally,
            steps=self._steps,
            moves=[list(move) for move in self.moves],
            loss=loss,
            pending=score,
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the state of a run that is resumed until training begins."""
        if runner._resume and STATE in checkpoint:
            self._loaded = checkpoint[STATE]

    def _restore(self, state: dict) -> None:
        self.policy.load_state_dict(state['policy'])
        self.policy.optimizer.load_state_dict(state['optimizer'])
        self._tally = state['tally'].clone()
        self._steps = [dict(step) for step in state['steps']]
        self.moves = [tuple(move) for move in state['moves']]
        moved = state['pending'] is not None
        self._pending = (state['loss'], state['pending']) if moved else None


def _prompt_of(model: nn.Module) -> RelocatedPrompt:
    """Return the prompt that moves.

    Raises:
        UserError: If there is not one in the model.
    """
    found = [m for m in model.modules() if isinstance(m, RelocatedPrompt)]
    if len(found) != 1:
        raise UserError(
            'PromptRelocationHook needs one RelocatedPrompt, but the model has '
            f'{len(found)}. Set model.backbone.prompt.type, or remove the hook.'
        )
    return found[0]
