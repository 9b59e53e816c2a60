# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Which tables records make, and what is noticed about them."""

import pytest

from mmvpt.bench.collect import collect
from mmvpt.zoo.tables import TASKS
from tests.bench.results import group, runs, vtab


def notices(records):
    return collect(records)[1]


def test_one_table_for_each_suite_and_protocol():
    records = [
        *runs('birds', {0: 1.0}),
        *runs('birds', {0: 2.0}, protocol__name='own'),
        *runs('birds', {0: 3.0}, suite='other'),
        dict(kind='search'),
    ]
    tables, odd = collect(records)
    assert [table.title for table in tables] == [
        'mine, protocol own',
        'mine, protocol vpt',
        'other, protocol vpt',
    ]
    assert odd == []


def test_rows_go_by_backbone_and_tuned_parameters():
    (table,), _ = collect(
        [
            *runs('birds', {0: 1.0}, 'full', 'a', tuned_parameters=9),
            *runs('birds', {0: 1.0}, 'bias', 'b', tuned_parameters=1),
            *runs('birds', {0: 1.0}, 'lora', 'a', tuned_parameters=5),
        ]
    )
    assert [(r.method, r.backbone) for r in table.rows] == [
        ('lora', 'a'),
        ('full', 'a'),
        ('bias', 'b'),
    ]


def test_tasks_that_failed_everywhere_keep_their_columns():
    (table,), odd = collect(runs('cub', {1: 80.0}))
    assert table.columns == ['cub', 'nabirds', 'flowers', 'dogs', 'cars', 'fgvc']
    assert odd == ['fgvc, protocol vpt: no record of nabirds, flowers, dogs, cars']
    whole = [task.name for task in TASKS.values() if task.benchmark == 'vtab']
    (table,), _ = collect([*runs('vtab-svhn', {1: 1.0}), *runs('vtab-kitti', {1: 1.0})])
    assert table.tasks == whole and len(table.columns) == 19 + 3 + 2
    assert table.columns[-3:] == ['structured', 'mean of groups', 'mean of tasks']
    assert table.columns[7] == 'natural' and table.columns[12] == 'specialized'


def test_one_group_of_vtab_is_a_suite_of_its_own():
    (table,), odd = collect(runs('vtab-eurosat', {1: 90.0}))
    tasks = ('patch-camelyon', 'eurosat', 'resisc45', 'retinopathy')
    assert table.columns == [*(f'vtab-{task}' for task in tasks), 'specialized']
    assert len(odd) == 1


def test_own_suites_have_the_columns_of_their_records():
    records = [*runs('cub', {1: 80.0}), *runs('birds', {1: 80.0})]
    for record in records:
        record['suite'] = 'mine'
    (table,), odd = collect(records)
    assert table.columns == ['cub', 'birds'] and odd == []
    (table,), _ = collect([{**r, 'suite': 'mine'} for r in group('fgvc', {1: 80.0})])
    assert table.columns[-1] == 'fgvc'


def test_missing_seeds_and_seeds_that_differ_are_noticed():
    cell = runs('birds', {1: 1.0, 2: 2.0, 3: 3.0})
    other = runs('planes', {1: 1.0, 2: 2.0, 3: 3.0})
    assert notices([*cell, *other]) == []
    assert notices([*cell[:2], *other[:2]]) == [
        'mine, protocol vpt: vpt-deep on birds, planes: seeds [3] are missing'
    ]
    cell[1]['settings'] = {'lr': 2.0}
    cell[2]['protocol']['checkpoint']['sha256'] = '2' * 64
    assert notices(cell) == [
        'mine, protocol vpt: vpt-deep on birds: the seeds differ in their settings',
        'mine, protocol vpt: vpt-deep on birds: the seeds differ in their checkpoints',
    ]


def test_a_second_session_adds_seeds():
    both = [*runs('birds', {1: 1.0}), *runs('birds', {2: 1.0, 3: 1.0})]
    assert notices(both) == []
    assert 'seeds [3] are missing' in notices(both[:2])[0]


def test_of_two_records_of_a_run_the_first_counts():
    first, same = runs('birds', {1: 50.0}), runs('birds', {1: 50.0})
    same[0]['measured']['seconds'] = 99.0
    assert notices([*first, *same]) == []
    (table,), odd = collect([*first, *runs('birds', {1: 60.0})])
    assert odd == [
        'two different records of mine, vpt, vpt-deep, in21k, birds, 1: '
        'the first counts'
    ]
    assert table.figures(table.rows[0])['birds'].mean == 50.0


@pytest.mark.parametrize(
    ('changes', 'notice'),
    [
        (
            dict(data__test=dict(images=9, sha256='f' * 64)),
            "digest of birds's test images differs between runs: mostly 000000000000, "
            'but ffffffffffff in lora',
        ),
        (
            dict(code__commit='abc' * 9),
            'code differs between runs: mostly 0.1.0 unknown, '
            'but 0.1.0 abcabcabca in lora',
        ),
        (
            dict(code__version='0.2.0', code__modified=True),
            'code differs between runs: mostly 0.1.0 unknown, '
            'but 0.2.0 unknown changed in lora',
        ),
        (
            dict(code__packages=dict(torch='3')),
            'torch differs between runs: mostly 2, but 3 in lora',
        ),
        (
            dict(code__packages=dict(torch='2', mmsegmentation='1')),
            'mmsegmentation differs between runs: mostly none, but 1 in lora',
        ),
    ],
)
def test_rows_of_other_images_code_or_packages_are_noticed(changes, notice):
    records = [*runs('birds', {1: 1.0}), *runs('birds', {1: 1.0}, 'bias')]
    records += runs('birds', {1: 1.0}, 'lora', **changes)
    assert notices(records) == [f'mine, protocol vpt: {notice}']


def test_other_tasks_have_other_test_images():
    changes = dict(data__test=dict(images=9, sha256='f' * 64))
    assert notices([*runs('a', {1: 1.0}), *runs('b', {1: 1.0}, **changes)]) == []


def test_a_suite_may_draw_its_test_images_by_seed():
    records = []
    for seed, digest in ((1, 'a'), (2, 'b')):
        part = dict(images=9, sha256=digest * 64)
        for method in ('bias', 'lora'):
            records += runs('birds', {seed: 1.0}, method, data__test=part)
    assert notices(records) == []
    records[-1]['data']['test'] = dict(images=9, sha256='d' * 64)
    assert notices(records) == [
        "mine, protocol vpt: digest of birds's test images differs between runs: "
        'mostly bbbbbbbbbbbb, but dddddddddddd in lora'
    ]


def test_a_whole_benchmark_goes_without_a_notice():
    assert notices(vtab()) == []
