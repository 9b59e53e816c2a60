# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Random numbers as a function of the position in training."""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmvpt.registry import HOOKS

# Streams: what happens inside a training iteration, and what happens around it
# (loading data in the main process, hooks, starting workers).
_STEP, _BETWEEN = 0, 1


@HOOKS.register_module()
class SeedHook(Hook):
    r"""Reseed Python, numpy and torch from the seed, the iteration and the rank.

    Iteration :math:`i` on rank :math:`r` draws from
    ``SeedSequence([seed, i, r, stream])``, whatever was drawn before. So the random
    numbers of an iteration are a pure function of its position: a run resumed there
    draws what the uninterrupted run drew, on any device, with any number of restarts,
    and there is nothing to save.

    The usual way, RNG states in the checkpoint, is weaker: only the rank that saves is
    covered, CUDA states depend on the number of devices, states of workers cannot be
    had, and whatever runs between saving and the next iteration (a validation, a hook)
    must draw exactly as often in both runs.

    It runs after all other hooks, so that those draw nothing in between. Data loaded
    in workers is the business of ``mmvpt.SeededTransforms``, which follows the same
    idea. Where the config names no seed, the resumed run takes that of the checkpoint,
    also for samplers, which mmengine builds before it has read the checkpoint.
    """

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Give the data loader the seed of the run and start the stream."""
        randomness = runner._randomness_cfg
        rank = runner.rank if randomness.get('diff_rank_seed') else 0
        self._seed = runner.seed - rank
        self._give_seed_to_loader(runner)
        self._reseed(runner, runner.iter, _BETWEEN)

    def before_train_epoch(self, runner: Runner) -> None:
        """Reseed for what starts the workers."""
        self._reseed(runner, runner.iter, _BETWEEN)

    def before_train_iter(self, runner: Runner, batch_idx: int, **_: Any) -> None:
        """Reseed for one iteration."""
        self._reseed(runner, runner.iter, _STEP)

    def after_train_iter(self, runner: Runner, batch_idx: int, **_: Any) -> None:
        """Reseed for what comes before the next iteration."""
        self._reseed(runner, runner.iter + 1, _BETWEEN)

    def after_train_epoch(self, runner: Runner) -> None:
        """Reseed for hooks that start the next epoch."""
        self._reseed(runner, runner.iter, _BETWEEN)

    def after_val(self, runner: Runner) -> None:
        """Forget what the validation drew."""
        if hasattr(self, '_seed'):
            self._reseed(runner, runner.iter, _BETWEEN)

    def _reseed(self, runner: Runner, iteration: int, stream: int) -> None:
        sequence = np.random.SeedSequence([self._seed, iteration, runner.rank, stream])
        seeds = sequence.generate_state(3, np.uint32).tolist()
        random.seed(seeds[0])
        np.random.seed(seeds[1])
        if get_device() == 'cpu':  # torch.manual_seed formats stacks for the others
            torch.default_generator.manual_seed(seeds[2])
        else:
            torch.manual_seed(seeds[2])

    def _give_seed_to_loader(self, runner: Runner) -> None:
        """Hand the seed to samplers and workers that were built with another one."""
        loader = runner.train_dataloader
        config = runner.cfg.get('train_dataloader') or {}
        chosen = config.get('sampler', {}).get('seed') if config else None
        for sampler in (loader.sampler, getattr(loader.batch_sampler, 'sampler', None)):
            old = getattr(sampler, 'seed', None)
            if chosen is not None or old is None or old == self._seed:
                continue
            sampler.seed = self._seed
            if hasattr(sampler, '_indices_of_rank'):  # mmengine's InfiniteSampler
                sampler.indices = sampler._indices_of_rank()
        start_worker = loader.worker_init_fn
        if isinstance(start_worker, functools.partial):
            if 'seed' in start_worker.keywords:
                start_worker.keywords['seed'] = runner.seed
