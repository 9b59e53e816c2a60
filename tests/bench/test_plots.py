# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What plots show: every row, what is missing, units."""

import matplotlib.pyplot as plt
import pytest

from mmvpt.bench import get_protocol, plots
from mmvpt.bench.collect import collect
from tests.bench.invented import record
from tests.bench.results import group, runs, vtab

METHODS = [f'method {i}' for i in range(14)]


@pytest.fixture
def drawn(monkeypatch):
    """Keep figures open, and return them by the name of their file."""
    found = {}
    close = plt.close
    monkeypatch.setattr(plots.plt, 'close', lambda fig: None)
    save = plots._save

    def keep(fig, path):
        found[path.stem] = fig
        return save(fig, path)

    monkeypatch.setattr(plots, '_save', keep)
    yield found
    close('all')


def table_of(records):
    (table,), _ = collect(records)
    return table


def legend(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


def notes(axis):
    return [text.get_text() for text in axis.texts]


def search(task='birds', method='lora', backbone='in21k', **changes):
    made = record(task=task, method=method, backbone=backbone, **changes)
    trials = [
        dict(slot=i, state='complete', value=50.0 + i, steps={}, cost=10.0)
        for i in range(3)
    ]
    return {**made, 'strategy': dict(name='asha'), 'trials': trials}


def test_accuracy_against_parameters(tmp_path, drawn):
    records = vtab(tuned_parameters=10**5)
    records += vtab(method='lora', tuned_parameters=10**6)
    records += vtab(method='ssf', tuned_parameters=10**7)[:-1]
    records += [r for r in vtab(method='full') if r['task'] != 'vtab-dtd']
    table = table_of(records)
    path = plots.accuracy_against_parameters(table, tmp_path / 'a.png')
    assert path.stat().st_size > 5000
    (axis,) = drawn['a'].axes
    assert legend(axis) == ['vpt-deep', 'lora', 'ssf']
    assert notes(axis) == ['not shown, a task is missing: full']
    assert axis.get_ylabel() == 'top-1 accuracy, %, mean of 19 tasks'
    assert axis.get_xscale() == 'log'
    # ssf lacks a seed of one task, so that its mean has no deviation
    assert len(axis.containers) == 2
    assert 'error bars: ± standard deviation over seeds' in axis.get_title()


def test_a_task_that_failed_everywhere_does_not_empty_the_plot(tmp_path, drawn):
    records = [*group('fgvc', {1: 50.0}), *group('fgvc', {1: 60.0}, method='lora')]
    table = table_of([r for r in records if r['task'] != 'cub'])
    assert plots.accuracy_against_parameters(table, tmp_path / 'a.png')
    (axis,) = drawn['a'].axes
    assert axis.get_ylabel() == 'top-1 accuracy, %, mean of 4 tasks out of 5'
    assert 'error bars' not in axis.get_title() and axis.get_xscale() == 'linear'


def test_too_few_rows_for_a_plot(tmp_path):
    table = table_of(runs('birds', {1: 50.0}))
    assert plots.accuracy_against_parameters(table, tmp_path / 'a.png') is None
    assert plots.group_bars(table, tmp_path / 'b.png')


def test_bars_of_groups(tmp_path, drawn):
    records = vtab(method='lora')
    records += [r for r in vtab(method='ssf') if r['task'] != 'vtab-dtd']  # the first
    plots.group_bars(table_of(records), tmp_path / 'b.png')
    (axis,) = drawn['b'].axes
    assert legend(axis) == ['lora', 'ssf'] and notes(axis) == ['missing']
    assert [t.get_text() for t in axis.get_xticklabels()] == [
        'Natural (7)',
        'Specialized (4)',
        'Structured (8)',
    ]
    assert axis.get_ylabel() == 'top-1 accuracy, % (the axis is cut)'
    assert sum(len(c) for c in axis.containers if hasattr(c, 'patches')) == 5


def test_seeds_of_one_task_best_method_first(tmp_path, drawn):
    records = runs('birds', {1: 70.0, 2: 72.0}, 'lora', tuned_parameters=41_234)
    table = table_of(records + runs('birds', {1: 50.0, 2: 40.0}, 'ssf'))
    plots.seeds_of_one_task(table, tmp_path / 's.png')
    (axis,) = drawn['s'].axes
    labels = [text.get_text() for text in axis.get_yticklabels()]
    assert labels[1] == 'lora, 41.2 k' and labels[0].startswith('ssf, ')
    drawn_at = [points.get_offsets().tolist() for points in axis.collections]
    assert drawn_at == [
        [[50.0, 0.0], [40.0, 0.0]],
        [[45.0, 0.0]],
        [[70.0, 1.0], [72.0, 1.0]],
        [[71.0, 1.0]],
    ]


def test_bars_of_tasks_where_no_group_is_complete(tmp_path, drawn):
    table = table_of(runs('vtab-dtd', {1: 3.0}))
    plots.group_bars(table, tmp_path / 'b.png')
    (axis,) = drawn['b'].axes
    assert notes(axis) == ['missing'] * 6
    assert [t.get_text() for t in axis.get_xticklabels()][:3] == [
        'cifar100',
        'caltech101',
        'dtd',
    ]
    assert axis.get_ylabel() == 'top-1 accuracy, %'  # from 0 on


def test_fourteen_rows_can_be_told_apart(tmp_path, drawn):
    records = []
    for i, method in enumerate(METHODS):
        records += runs('birds', {1: 50.0 + i}, method, tuned_parameters=10 + i)
    table = table_of(records)
    plots.accuracy_against_parameters(table, tmp_path / 'a.png')
    plots.group_bars(table, tmp_path / 'b.png')
    plots.search_history([search(method=m) for m in METHODS], tmp_path / 's.png')
    for name, styles in (
        ('a', lambda h: (h.get_color(), h.get_marker())),
        ('b', lambda h: (h.get_facecolor(), h.get_hatch())),
        ('s', lambda h: (h.get_color(), h.get_linestyle(), h.get_marker())),
    ):
        handles = drawn[name].axes[0].get_legend().legend_handles
        assert len({styles(handle) for handle in handles}) == 14


def test_search_history(tmp_path, drawn):
    searches = [
        search('birds'),
        search('birds', 'ssf'),
        search('planes', 'full'),
        search('planes', metric='mIoU', suite='other'),
    ]
    assert plots.search_history(searches, tmp_path / 's.png').stat().st_size > 5000
    axes = drawn['s'].axes
    assert [axis.get_title() for axis in axes if axis.get_visible()] == [
        'vtab: birds',
        'vtab: planes',
        'other: planes',
    ]
    assert legend(axes[2]) == ['lora (asha)', 'ssf (asha)', 'full (asha)']
    assert axes[0].get_ylabel() == 'best top-1 accuracy on validation so far, %'
    assert axes[2].get_ylabel() == 'best mIoU on validation so far, %'
    assert axes[0].lines[0].get_xydata().tolist() == [[10, 50], [20, 51], [30, 52]]
    plots.search_history([search(), search(backbone='mae')], tmp_path / 's.png')
    assert legend(drawn['s'].axes[0]) == ['lora (in21k, asha)', 'lora (mae, asha)']
    assert plots.search_history([], tmp_path / 'none.png') is None


def test_plots_name_backbones_and_the_label(tmp_path, drawn):
    paper = get_protocol('davpt-paper')
    changes = dict(protocol__name=paper.name, protocol__label=paper.label)
    table = table_of(
        [
            *runs('birds', {1: 1.0}, **changes),
            *runs('birds', {1: 2.0}, backbone='mae', **changes),
        ]
    )
    plots.accuracy_against_parameters(table, tmp_path / 'a.png')
    plots.group_bars(table, tmp_path / 'b.png')
    for name in 'ab':
        (axis,) = drawn[name].axes
        assert '(test-selected)' in axis.get_title()
        assert legend(axis) == [
            'vpt-deep (in21k) [test-selected]',
            'vpt-deep (mae) [test-selected]',
        ]
