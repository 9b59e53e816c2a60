# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Invented records of final runs, several at once."""

from mmvpt.zoo.tables import TASKS
from tests.bench.invented import record


def runs(task, values, method='vpt-deep', backbone='in21k', metric='top1', **changes):
    """Return records of one cell.

    Args:
        task: A task, of the zoo or not.
        values: Test figures by seed, which are also the seeds of the session.
        method: The method.
        backbone: The backbone.
        metric: 'top1' or 'mIoU'.
        **changes: As those of ``record``.
    """
    known = TASKS.get(task)
    metric = 'accuracy/top1' if metric == 'top1' else metric
    return [
        record(
            **{
                'suite': known.benchmark if known else 'mine',
                'group': known.group if known else '',
                'task': task,
                'method': method,
                'backbone': backbone,
                'metric': metric,
                'metrics__test': {metric: value},
                'seed': seed,
                'protocol__seeds': list(values),
                **changes,
            }
        )
        for seed, value in values.items()
    ]


def group(name, values, **changes):
    """Return records of all tasks of a group; the n-th has n more than ``values``."""
    tasks = [task.name for task in TASKS.values() if task.group == name]
    return [
        record
        for n, task in enumerate(tasks)
        for record in runs(task, {s: v + n for s, v in values.items()}, **changes)
    ]


def vtab(values=None, **changes):
    """Return records of all 19 tasks of VTAB-1k."""
    values = values or {1: 40.0, 2: 42.0}
    groups = ('natural', 'specialized', 'structured')
    return [record for name in groups for record in group(name, values, **changes)]
