# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A killed and resumed run ends where the uninterrupted one does, bit by bit.

With random augmentation, prompt dropout and two workers.
"""

import pytest
import torch

from mmvpt.checkpoint import read_checkpoint
from tests.engine.killed_runs import run_all
from tests.engine.miniature import write_config, write_data
from tests.quick import asked, swept

EPOCHS = 3  # of three iterations; each ends with a checkpoint, then its note

# Where runs die, one after the other, each resuming the one before. ``replace`` counts
# checkpoints, the best ones too.
KILLS = {
    'in_the_first_epoch': [['iter', 2]],
    'in_a_validation': [['val', 3]],
    'before_the_first_note': [['replace', 1]],
    'writing_a_checkpoint': [['write', 3]],
    'after_the_fourth_file': [['replace', 4]],
    'twice': [['iter', 5], ['write', 1]],
}
ITERATION_KILLS = {'trained': [['iter', 6]], 'validated': [['val', 2]]}


def assert_equal(a, b, where=''):
    """Compare nested states bit by bit."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f'{where}.{key}')
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b)):
            assert_equal(x, y, f'{where}[{i}]')
    else:
        assert a == b, where


def assert_same_end(one, other, name):
    """Compare weights, optimizer and schedules of two finished runs."""
    one, other = read_checkpoint(one / name), read_checkpoint(other / name)
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_equal(one[part], other[part], part)


def killed(config, folder, kills):
    """Return the runs of a scenario: killed ones, then one that ends."""
    start = [str(config), '--work-dir', str(folder)]
    runs = [
        [kill, [*start, '--resume'] if i else start] for i, kill in enumerate(kills)
    ]
    return [*runs, [None, [*start, '--resume']]]


@pytest.fixture(scope='module')
def folder(tmp_path_factory, request):
    """Work dirs of the runs that are asked for."""
    root = tmp_path_factory.mktemp('resume')
    data = write_data(root)

    def config(name, **changes):
        changes.setdefault('train_dataloader__num_workers', 2)
        (root / name).mkdir()
        (root / name / 'data').symlink_to(data)
        return write_config(root / name, **changes)

    epochs = config(
        'epochs',
        train_cfg__max_epochs=EPOCHS,
        default_hooks__checkpoint__save_best='auto',
    )
    seedless = config('seedless', randomness__seed=None)
    iterations = config(
        'iterations',
        train_dataloader__sampler__type='mmvpt.SeededInfiniteSampler',
        train_cfg=dict(_delete_=True, by_epoch=False, max_iters=9, val_interval=4),
        param_scheduler__by_epoch=False,
        default_hooks__checkpoint__by_epoch=False,
        default_hooks__checkpoint__interval=2,
    )

    def start(config, name, *options):
        where = ['--work-dir', str(config.parent / name)]
        options = ['--cfg-options', *options] if options else []
        return [None, [str(config), *where, *options]]

    runs = [start(epochs, 'whole'), start(epochs, 'other', 'randomness.seed=1')]
    for name, kills in asked(request, 'name', KILLS).items():
        runs += killed(epochs, root / 'epochs' / name, kills)
    runs.append(start(iterations, 'whole'))
    for name, kills in asked(request, 'name', ITERATION_KILLS).items():
        runs += killed(iterations, root / 'iterations' / name, kills)
    runs += killed(seedless, root / 'seedless' / 'killed', [['iter', 5]])
    seed = f'randomness.seed=seed-of:{root}/seedless/killed/epoch_1.pth'
    runs.append(start(seedless, 'whole', seed))

    run_all(runs)
    return root


@pytest.mark.parametrize('name', swept(KILLS, 'twice'))
def test_killed_and_resumed(folder, name):
    whole, resumed = folder / 'epochs' / 'whole', folder / 'epochs' / name
    assert_same_end(whole, resumed, f'epoch_{EPOCHS}.pth')
    names = sorted(path.name for path in whole.glob('*.pth'))
    assert len(names) == 3  # two epochs and the best
    assert sorted(path.name for path in resumed.glob('*.pth')) == names
    assert not list(resumed.glob('.*mmvpt-tmp'))


def test_other_seed_ends_elsewhere(folder):
    """The comparison is able to fail."""
    with pytest.raises(AssertionError, match='state_dict.backbone.prompt.tokens'):
        one = read_checkpoint(folder / 'epochs/whole' / f'epoch_{EPOCHS}.pth')
        other = read_checkpoint(folder / 'epochs/other' / f'epoch_{EPOCHS}.pth')
        for checkpoint in (one, other):  # the frozen part starts at random here
            state = checkpoint['state_dict']
            checkpoint['state_dict'] = {k: state[k] for k in state if 'prompt' in k}
        assert_equal(one['state_dict'], other['state_dict'], 'state_dict')


@pytest.mark.parametrize('name', swept(ITERATION_KILLS, 'trained'))
def test_between_epochs(folder, name):
    """In a loop that counts iterations, killed in the middle of a pass."""
    root = folder / 'iterations'
    assert_same_end(root / 'whole', root / name, 'iter_9.pth')


def test_seed_that_the_config_does_not_name(folder):
    """A resumed run takes the seed of the checkpoint, for the sampler too."""
    root = folder / 'seedless'
    assert_same_end(root / 'whole', root / 'killed', 'epoch_2.pth')
