# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
import copy
import itertools
import json
import pickle

import pytest
from mmengine.dataset import DefaultSampler
from torch.utils.data import BatchSampler

from mmvpt.datasets.samplers import (
    Draw,
    SeededInfiniteSampler,
    SeededSampler,
    draw_seed,
    seeded,
)


@pytest.fixture
def as_rank(monkeypatch):
    def set_rank(rank, world_size):
        monkeypatch.setattr(seeded, 'get_dist_info', lambda: (rank, world_size))
        monkeypatch.setattr(
            'mmengine.dataset.sampler.get_dist_info', lambda: (rank, world_size)
        )

    return set_rank


def pairs(draws):
    return [(int(draw), draw.seed) for draw in draws]


def test_draw_is_an_int_that_keeps_its_seed():
    draw = Draw(5, 2**63 + 1)
    assert draw == 5 and isinstance(draw, int) and json.dumps([draw]) == '[5]'
    for other in (
        pickle.loads(pickle.dumps(draw)),
        copy.copy(draw),
        copy.deepcopy(draw),
        draw - 0,
        draw + 0,
        0 + draw,
        draw % 7,
    ):
        assert other == 5 and type(other) is Draw and other.seed == draw.seed
    assert (draw - 3, draw + 3, 3 + draw, draw % 3) == (2, 8, 8, 2)


def test_draw_seed_is_stable_and_distinct():
    assert draw_seed(0, 0, 0) == 18339399129536151103
    seeds = {
        draw_seed(*key) for key in itertools.product(range(3), range(12), range(112))
    }
    assert len(seeds) == 3 * 12 * 112
    assert draw_seed(1, 11, 1) != draw_seed(11, 1, 1) != draw_seed(1, 1, 11)
    assert draw_seed(0, 0, Draw(3, 9)) == draw_seed(0, 0, 3)


@pytest.mark.parametrize('size', [1, 2, 7, 12])
@pytest.mark.parametrize('world_size', [1, 2, 5])
@pytest.mark.parametrize('round_up', [True, False])
@pytest.mark.parametrize('shuffle', [True, False])
def test_order_is_that_of_default_sampler(as_rank, size, world_size, round_up, shuffle):
    for rank in range(world_size):
        as_rank(rank, world_size)
        args = (range(size), shuffle, 3, round_up)
        ours, theirs = SeededSampler(*args), DefaultSampler(*args)
        for epoch in (0, 4):
            ours.set_epoch(epoch)
            theirs.set_epoch(epoch)
            assert list(ours) == list(theirs)
            assert len(ours) == len(theirs) == len(list(ours))


def test_seeds_do_not_depend_on_the_number_of_ranks(as_rank):
    alone = SeededSampler(range(10), seed=1)
    alone.set_epoch(2)
    ranks = []
    for rank in range(2):
        as_rank(rank, 2)
        ranks.append(SeededSampler(range(10), seed=1))
        ranks[-1].set_epoch(2)
    together = [draw for both in zip(*ranks) for draw in both]
    assert pairs(together) == pairs(alone)


def test_seeds_change_with_epoch_and_seed():
    sampler = SeededSampler(range(6), shuffle=False, seed=0)
    first = {draw.seed for draw in sampler}
    sampler.set_epoch(1)
    assert not first & {draw.seed for draw in sampler}
    assert not first & {d.seed for d in SeededSampler(range(6), seed=1)}


def test_infinite_stream_is_the_epochs_in_a_row():
    epochs = SeededSampler(range(5), seed=3)
    expected = []
    for epoch in range(3):
        epochs.set_epoch(epoch)
        expected += pairs(epochs)
    stream = SeededInfiniteSampler(range(5), seed=3)
    assert len(stream) == 5
    assert pairs(itertools.islice(stream, 15)) == expected


@pytest.mark.parametrize('size', [1, 3, 10])
@pytest.mark.parametrize('world_size', [2, 4])
def test_infinite_ranks_share_one_stream(as_rank, size, world_size):
    one = pairs(itertools.islice(SeededInfiniteSampler(range(size), seed=2), 60))
    for rank in range(world_size):
        as_rank(rank, world_size)
        sampler = SeededInfiniteSampler(range(size), seed=2)
        own = pairs(itertools.islice(sampler, 60 // world_size))
        assert own == one[rank::world_size]
        for skipped in (0, 1, 7, 11):
            sampler.skip(skipped)
            again = pairs(itertools.islice(sampler, 60 // world_size - skipped))
            assert again == own[skipped:]


def test_infinite_without_shuffling():
    sampler = SeededInfiniteSampler(range(3), shuffle=False, seed=0)
    assert list(itertools.islice(sampler, 7)) == [0, 1, 2, 0, 1, 2, 0]


def test_skip_refuses_negative_numbers():
    with pytest.raises(ValueError, match='got -1'):
        SeededInfiniteSampler(range(3), seed=0).skip(-1)


def test_missing_seed_is_drawn():
    assert SeededSampler(range(3)).seed >= 0
    assert SeededInfiniteSampler(range(3)).seed >= 0


def test_batch_sampler_hands_out_draws():
    batches = list(BatchSampler(SeededSampler(range(5), seed=0), 2, drop_last=False))
    assert all(type(draw) is Draw for batch in batches for draw in batch)
