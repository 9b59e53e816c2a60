# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DATA_SAMPLERS, TRANSFORMS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmvpt.datasets import Draw, SeededSampler, SeededTransforms
from mmvpt.datasets.samplers import seeded as seeded_samplers

NUM_IMAGES = 9


class Noise:
    """Draws from all three generators."""

    def __call__(self, results):
        results['python'] = [random.random(), random.gauss(0, 1)]
        results['numpy'] = np.random.normal(size=3)
        results['torch'] = torch.randn(3)
        return results


class Plain(BaseDataset):
    """mmengine's dataset without a file."""

    def load_data_list(self):
        return [dict(img=np.full((6, 6, 3), i, np.uint8)) for i in range(NUM_IMAGES)]


def augment():
    return SeededTransforms(
        [
            Noise(),
            dict(type='RandomFlip', prob=0.5, direction=['horizontal', 'vertical']),
            dict(type='RandomCrop', crop_size=4),
            dict(type='ColorJitter', brightness=0.5),
        ]
    )


def keep(results):
    names = ('sample_idx', 'python', 'numpy', 'torch', 'flip', 'img')
    return {name: results.get(name) for name in names}


@pytest.fixture
def dataset():
    return Plain(pipeline=[augment(), keep])


def samples(dataset, epoch=0, sampler=None, **kwargs):
    sampler = sampler or SeededSampler(dataset, seed=5)
    loader = DataLoader(dataset, 2, sampler=sampler, collate_fn=list, **kwargs)
    sampler.set_epoch(epoch)
    return [sample for batch in loader for sample in batch]


def assert_same(got, expected):
    assert len(got) == len(expected) > 0
    for a, b in zip(got, expected):
        for key in b:
            np.testing.assert_array_equal(a[key], b[key])


def assert_all_random(some, other):
    for key in ('python', 'numpy', 'torch'):
        for a, b in zip(some, other):
            assert not np.equal(a[key], b[key]).any()


@pytest.mark.parametrize('num_workers', [1, 2])
def test_any_number_of_workers_gives_the_same_images(dataset, num_workers):
    assert_same(samples(dataset, num_workers=num_workers), samples(dataset))


def test_persistent_workers_and_later_epochs(dataset):
    sampler = SeededSampler(dataset, seed=5)
    loader = DataLoader(
        dataset,
        2,
        sampler=sampler,
        collate_fn=list,
        num_workers=2,
        persistent_workers=True,
    )
    for epoch in range(3):
        sampler.set_epoch(epoch)
        run_through = [sample for batch in loader for sample in batch]
    assert_same(run_through, samples(dataset, epoch=2))


def test_epochs_differ(dataset):
    by_index = [
        sorted(samples(dataset, epoch), key=lambda s: s['sample_idx'])
        for epoch in (0, 1)
    ]
    assert_all_random(*by_index)
    assert_all_random(by_index[0][:-1], by_index[0][1:])


def test_two_ranks_see_the_images_of_one_process(dataset, monkeypatch):
    alone = samples(dataset)
    ranks = []
    for rank in range(2):
        monkeypatch.setattr(seeded_samplers, 'get_dist_info', lambda r=rank: (r, 2))
        ranks.append(samples(dataset, num_workers=rank))
    together = [sample for both in zip(*ranks) for sample in both]
    assert_same(together[:NUM_IMAGES], alone)
    assert_same(together[NUM_IMAGES:], alone[:1])  # rounded up


def test_global_state_is_put_back(dataset):
    def state():
        return random.random(), np.random.rand(), torch.rand(1).item()

    for seed in (0, 1):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        expected = state()
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        dataset[Draw(0, 3)]
        assert state() == expected


def test_global_state_is_put_back_after_an_error():
    def fail(results):
        np.random.rand()
        raise RuntimeError('broken')

    np.random.seed(0)
    expected = np.random.rand()
    np.random.seed(0)
    with pytest.raises(RuntimeError, match='broken'):
        SeededTransforms([fail])(dict(sample_idx=Draw(0, 1)))
    assert np.random.rand() == expected


def test_accelerators_are_left_alone(dataset, monkeypatch):
    def refuse(seed):
        raise AssertionError('seeds the accelerator')

    monkeypatch.setattr(torch.cuda, 'manual_seed_all', refuse)
    dataset[Draw(0, 3)]


def test_seeds_beyond_32_bits_matter(dataset):
    low, high = dataset[Draw(0, 7)], dataset[Draw(0, 7 + 2**40)]
    for key in ('python', 'numpy'):  # torch's CPU generator reads 32 bits only
        assert not np.equal(low[key], high[key]).any()


def test_none_is_passed_on():
    assert SeededTransforms([lambda results: None])(dict(sample_idx=Draw(0, 1))) is None


@pytest.mark.parametrize('sample', [dict(), dict(sample_idx=3)])
def test_sample_without_seed(sample):
    with pytest.raises(ValueError, match='mmvpt.SeededSampler.*SeededInfiniteSampler'):
        augment()(sample)


def test_needs_transforms():
    with pytest.raises(ValueError, match='at least one'):
        SeededTransforms([])


@pytest.mark.parametrize(
    'wrap',
    [lambda d: ConcatDataset([d, d]), lambda d: RepeatDataset(d, 2)],
    ids=['concat', 'repeat'],
)
def test_wrappers_keep_the_seed(dataset, wrap):
    wrapped = wrap(dataset)
    assert_same([wrapped[Draw(NUM_IMAGES + 2, 8)]], [dataset[Draw(2, 8)]])
    assert_same([wrapped[Draw(2, 8)]], [dataset[Draw(2, 8)]])


def test_builds_by_name():
    flip = dict(type='RandomFlip', prob=0.5)
    built = TRANSFORMS.build(dict(type='mmvpt.SeededTransforms', transforms=[flip]))
    assert isinstance(built, SeededTransforms)
    assert 'RandomFlip' in repr(built)
    for name in ('SeededSampler', 'SeededInfiniteSampler'):
        cfg = dict(type=f'mmvpt.{name}', dataset=range(3), seed=0)
        assert type(DATA_SAMPLERS.build(cfg)).__name__ == name


def test_runner_gives_its_seed_to_the_sampler(dataset):
    loader = Runner.build_dataloader(
        dict(
            dataset=dataset,
            sampler=dict(type='mmvpt.SeededSampler'),
            batch_size=2,
            collate_fn=list,
        ),
        seed=5,
    )
    assert_same([sample for batch in loader for sample in batch], samples(dataset))
