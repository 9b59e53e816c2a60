# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Figures of rows, and the cells that show them."""

import statistics

import pytest

from mmvpt.bench import get_protocol
from mmvpt.bench.collect import collect
from mmvpt.bench.tables import cells, spread
from mmvpt.display import markdown
from tests.bench.results import group, runs, vtab


def only(records):
    (table,), _ = collect(records)
    return table


def figures(records):
    table = only(records)
    return table.figures(table.rows[0])


def test_mean_and_sample_standard_deviation_over_seeds():
    figure = figures(runs('birds', {1: 70.0, 2: 71.0, 3: 75.0}))['birds']
    assert figure.mean == pytest.approx(72) and figure.seeds == 3
    assert figure.std == pytest.approx(7**0.5)  # of a sample: n - 1
    assert str(figure) == '72.0 ± 2.6'
    assert str(figures(runs('birds', {1: 70.0}))['birds']) == '70.0'
    assert spread([70.0, 71.0, 75.0]) == '72.0 ± 2.6' and spread([5.0]) == '5.0'


def test_both_means_of_vtab():
    records = [
        *group('natural', {1: 70.0}),  # 70 to 76
        *group('specialized', {1: 80.0}),  # 80 to 83
        *group('structured', {1: 30.0}),  # 30 to 37
    ]
    found = figures(records)
    assert found['natural'].mean == pytest.approx(73)
    assert found['specialized'].mean == pytest.approx(81.5)
    assert found['structured'].mean == pytest.approx(33.5)
    assert found['mean of groups'].mean == pytest.approx((73 + 81.5 + 33.5) / 3)
    tasks = [*range(70, 77), *range(80, 84), *range(30, 38)]
    assert found['mean of tasks'].mean == pytest.approx(sum(tasks) / 19)
    head, line, *_ = cells(only(records))
    assert (head[-2], line[-2]) == ('mean of 3 groups', '62.7')
    assert (head[-1], line[-1]) == ('mean of 19 tasks', '58.2')


def test_means_vary_over_seeds_as_the_seeds_means_do():
    # one task rises while another falls: the means hardly vary
    first = [(70.0, 60.0), (72.0, 59.0), (74.0, 58.0), (70.0, 60.0), (70.0, 60.0)]
    records = []
    for task, (a, b) in zip(('cub', 'nabirds', 'flowers', 'dogs', 'cars'), first):
        records += runs(task, {1: a, 2: b})
    figure = figures(records)['fgvc']
    by_seed = [statistics.fmean(values) for values in zip(*first)]
    assert figure.mean == pytest.approx(statistics.fmean(by_seed))
    assert figure.std == pytest.approx(statistics.stdev(by_seed)) and figure.seeds == 2
    found = figures(vtab({1: 40.0, 2: 43.0}))
    for column in ('natural', 'mean of groups', 'mean of tasks'):
        assert found[column].std == pytest.approx(3 / 2**0.5)


def test_means_of_tasks_with_other_seeds_have_no_deviation():
    records = group('fgvc', {1: 40.0, 2: 42.0})
    found = figures(records[:-1])
    assert found['cub'].std and found['cars'].std is None
    assert found['fgvc'][1:] == (None, None)
    assert found['fgvc'].mean == pytest.approx((41 + 42 + 43 + 44 + 44) / 5)


def test_what_is_missing_is_shown_as_missing():
    records = [r for r in vtab() if r['task'] != 'vtab-dtd']
    records += vtab(method='lora')
    table = only(records)
    assert [table.name(row) for row in table.rows] == ['vpt-deep', 'lora']
    head, deep, *_ = cells(table)
    missing = [column for column, cell in zip(head, deep) if cell == '–']
    assert missing == ['dtd', 'Natural (7)', 'mean of 3 groups', 'mean of 19 tasks']
    kitti = only([r for r in records if r['task'] != 'vtab-kitti'])
    assert 'kitti' in cells(kitti)[0]
    assert {line[cells(kitti)[0].index('kitti')] for line in cells(kitti)[1:]} == {
        '–',
        '72.8',  # the latter is published
    }


def test_published_figures_stand_below_ours():
    head, ours, paper, gap = cells(only(vtab()))
    assert paper[:3] == [
        'published (val-selected settings, last epoch, 5 seeds)',
        '',
        '',
    ]
    assert gap[0] == 'difference'
    column = head.index('cifar100')
    assert (ours[column], paper[column], gap[column]) == ('41.0 ± 1.4', '78.8', '-37.8')
    column = head.index('mean of 3 groups')
    assert (paper[column], gap[column]) == ('72.0', '-28.3')
    column = head.index('mean of 19 tasks')
    assert (paper[column], gap[column]) == ('69.4', '-25.5')
    assert len(cells(only(vtab(backbone='clip')))) == 2


def test_a_difference_needs_both_figures():
    head, ours, paper, gap = cells(only(runs('cub', {1: 90.0})))
    column = {name: i for i, name in enumerate(head)}
    assert gap[column['cub']] == '+1.5'
    assert (ours[column['dogs']], paper[column['dogs']]) == ('–', '90.2')
    assert gap[column['dogs']] == '–'


def test_one_task_shows_validation_and_settings():
    settings = {'a.b.lr': 0.01414213562373095, 'tokens': 5}
    records = runs(
        'ade20k',
        {1: 40.0, 2: 41.0},
        'frozen',
        'setr-pup-vit-large-p16',
        'mIoU',
        suite='ade20k',
        settings=settings,
        metrics__val={'mIoU': 50.0},
    )
    table = cells(only(records))
    assert table[0] == [
        'method',
        'tuned parameters',
        's per run',
        'val',
        'test',
        'settings',
    ]
    assert table[1] == [
        'frozen',
        '128,303',
        '60',
        '50.0 ± 0.0',
        '40.5 ± 0.7',
        'lr=0.01414, tokens=5',
    ]
    assert [line[4] for line in table[2:]] == ['38.1', '+2.4']
    assert markdown(table).count('\n') == 5  # lines of all widths


def test_backbones_are_named_where_there_are_several():
    records = runs('birds', {1: 50.0})
    assert cells(only(records))[1][0] == 'vpt-deep'
    records += runs('birds', {1: 60.0}, backbone='mae')
    assert [line[0] for line in cells(only(records))[1:]] == [
        'vpt-deep (in21k)',
        'vpt-deep (mae)',
    ]


def test_test_selected_figures_say_so():
    paper = get_protocol('davpt-paper')
    table = only(
        runs('birds', {1: 1.0}, protocol__name=paper.name, protocol__label=paper.label)
    )
    assert table.title == 'mine, protocol davpt-paper (test-selected)'
    assert cells(table)[1][0] == 'vpt-deep [test-selected]'


def test_markdown_escapes_what_parts_cells():
    assert markdown([['a', 'b'], ['x|y', '–']]) == (
        '| a    | b |\n|------|---|\n| x\\|y | – |\n'
    )
