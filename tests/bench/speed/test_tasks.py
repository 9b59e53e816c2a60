# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Memory and time of many tasks on one backbone are measured, and reported."""

from mmvpt.bench.speed.tasks import measure_tasks


def test_serving(tmp_path, capsys):
    shape = dict(arch='vit-ti', image_size=32, batch_size=4, num_tokens=3)
    result = measure_tasks(
        tasks=[3, 1], **shape, repeats=2, out=str(tmp_path / 'tasks')
    )
    one, three = result['rows']
    assert (one['tasks'], three['tasks']) == (1, 3)
    # two further tasks: prompts and heads, and keys and values that are kept
    own = 4 * (12 * 3 * 192 + 193 * 200)
    assert 2 * own < three['bytes'] - one['bytes'] < 4 * own
    assert [len(values) for values in one['seconds'].values()] == [2, 2, 2]
    assert (tmp_path / 'tasks.json').exists()
    assert 'mixed / one by one' in capsys.readouterr().out


def test_training(tmp_path, capsys):
    shape = dict(arch='vit-ti', image_size=32, batch_size=2, num_tokens=3)
    out = str(tmp_path / 'tasks')
    result = measure_tasks(
        mode='train', tasks=[2], **shape, last_layers=3, repeats=2, out=out
    )
    assert list(result['rows'][0]['seconds']) == ['together', 'one by one']
    assert 'together / one by one' in capsys.readouterr().out
