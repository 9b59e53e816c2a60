# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Killed and resumed DA-VPT runs end where uninterrupted ones do, bit by bit.

Losses, running class means and maps included; killed inside an epoch, and right before
and after the map changes.
"""

import json

import pytest

from mmvpt.checkpoint import read_checkpoint
from tests.engine.killed_runs import run_all
from tests.engine.miniature import write_config, write_data
from tests.engine.test_exact_resume import assert_same_end, killed
from tests.quick import asked, swept

# Three iterations make an epoch; a checkpoint and its note follow the new map.
KILLS = {
    'inside_an_epoch': [['iter', 5]],
    'the_map_is_new_but_not_saved': [['write', 2]],
    'the_map_is_saved': [['replace', 3]],
    'before_the_last_map': [['iter', 9]],
}
# A checkpoint every second iteration, a map every third: sums are saved half-way.
ITERATION_KILLS = {'between': [['iter', 5]], 'at_a_map': [['iter', 6]]}


def guided(**mapping):
    return dict(
        model__backbone__prompt=dict(
            _delete_=True,
            type='DistributionAwarePrompt',
            num_classes=3,
            num_guided_tokens=2,
            num_tokens=2,
            drop_rate=0.2,
        ),
        custom_hooks=[
            dict(type='mmvpt.MetricGuidanceHook', visual_weight=0.1, cls_weight=0.1),
            dict(type='mmvpt.SemanticMappingHook', **mapping),
        ],
        optim_wrapper__optimizer__lr=0.02,
    )


@pytest.fixture(scope='module')
def folder(tmp_path_factory, request):
    """Work dirs of the runs that are asked for."""
    root = tmp_path_factory.mktemp('guided')
    data = write_data(root)

    def config(name, **changes):
        (root / name).mkdir()
        (root / name / 'data').symlink_to(data)
        return write_config(root / name, **changes)

    epochs = config('epochs', train_cfg__max_epochs=4, **guided())
    iterations = config(
        'iterations',
        train_dataloader__sampler__type='mmvpt.SeededInfiniteSampler',
        train_cfg=dict(_delete_=True, by_epoch=False, max_iters=10, val_interval=99),
        param_scheduler__by_epoch=False,
        default_hooks__checkpoint__by_epoch=False,
        default_hooks__checkpoint__interval=2,
        **guided(by_epoch=False, interval=3),
    )
    runs = []
    for path, kills in ((epochs, KILLS), (iterations, ITERATION_KILLS)):
        runs.append([None, [str(path), '--work-dir', str(path.parent / 'whole')]])
        for name, where in asked(request, 'name', kills).items():
            runs += killed(path, path.parent / name, where)
    run_all(runs)
    return root


def maps(work_dir):
    """Return the last map after each (epoch, iter), of all runs in a work dir."""
    rows = {}
    for file in sorted(work_dir.glob('*/class_to_prompt.jsonl')):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            rows[row['epoch'], row['iter']] = row['map'], row['moved'], row['sizes']
    return rows


@pytest.mark.parametrize('name', swept(KILLS, 'the_map_is_new_but_not_saved'))
def test_epochs(folder, name):
    folder = folder / 'epochs'
    assert_same_end(folder / name, folder / 'whole', 'epoch_4.pth')
    assert maps(folder / name) == maps(folder / 'whole')
    assert len(maps(folder / 'whole')) == 5


@pytest.mark.parametrize('name', swept(ITERATION_KILLS, 'at_a_map'))
def test_iterations(folder, name):
    folder = folder / 'iterations'
    assert_same_end(folder / name, folder / 'whole', 'iter_10.pth')
    assert maps(folder / name) == maps(folder / 'whole')
    state = read_checkpoint(folder / name / 'iter_10.pth')['state_dict']
    assert state['backbone.prompt.class_counts'].sum() == 8  # one batch since 9
