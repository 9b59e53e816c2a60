# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Random numbers are a function of seed, iteration and rank."""

import functools
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import InfiniteSampler, default_collate
from torch.utils.data import DataLoader

from mmvpt.engine.hooks import SeedHook


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()


def worker_init(worker_id, seed):
    """Stand in for mmengine's."""


def runner(iteration=0, rank=0, seed=7, sampler_seed=7, config=None):
    data = list(range(10))
    loader = DataLoader(
        data,
        sampler=InfiniteSampler(data, seed=sampler_seed),
        collate_fn=default_collate,
        worker_init_fn=functools.partial(worker_init, seed=sampler_seed),
    )
    return SimpleNamespace(
        seed=seed,
        rank=rank,
        iter=iteration,
        _randomness_cfg=dict(seed=seed),
        train_dataloader=loader,
        cfg=dict(train_dataloader=dict(sampler=config or {})),
    )


def stream(**position):
    run, hook = runner(**position), SeedHook()
    hook.before_train(run)
    hook.before_train_iter(run, 0)
    step = draw()
    hook.after_train_iter(run, 0)
    return step, draw()


def test_stream_depends_on_the_position_alone():
    one = stream(iteration=3)
    draw()
    assert stream(iteration=3) == one
    for other in (dict(iteration=4), dict(rank=1), dict(seed=8)):
        step, between = stream(**{'iteration': 3, **other})
        assert not set(step) & set(one[0]) and not set(between) & set(one[1])
    assert not set(one[0]) & set(one[1])


def test_what_follows_an_iteration_is_what_a_resumed_run_starts_with():
    _, after = stream(iteration=3)
    run, hook = runner(iteration=4), SeedHook()
    hook.before_train(run)
    assert draw() == after
    hook.before_train_epoch(run)
    assert draw() == after
    hook.after_val(run)
    assert draw() == after
    hook.after_train_epoch(run)
    assert draw() == after


def test_loader_takes_the_seed_of_the_run():
    run = runner(seed=7, sampler_seed=99)
    expected = list(zip(range(5), InfiniteSampler(list(range(10)), seed=7)))
    SeedHook().before_train(run)
    sampler = run.train_dataloader.sampler
    assert sampler.seed == 7
    assert [i for _, i in zip(range(5), sampler)] == [i for _, i in expected]
    assert run.train_dataloader.worker_init_fn.keywords['seed'] == 7


def test_seed_that_the_config_gives_the_sampler_stays():
    run = runner(seed=7, sampler_seed=99, config=dict(seed=99))
    SeedHook().before_train(run)
    assert run.train_dataloader.sampler.seed == 99


@pytest.mark.parametrize('rank', [0, 3])
def test_ranks_with_own_seeds_share_the_sampler(rank):
    run = runner(seed=7 + rank, rank=rank, sampler_seed=1)
    run._randomness_cfg = dict(seed=7, diff_rank_seed=True)
    SeedHook().before_train(run)
    assert run.train_dataloader.sampler.seed == 7
