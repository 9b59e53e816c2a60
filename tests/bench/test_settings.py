# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Where records lie, what jobs are told, and the record of a search."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from mmvpt.bench import get_protocol, read_record, settings
from mmvpt.bench.scheduler import run
from mmvpt.bench.search import write_search
from mmvpt.bench.space import Space
from mmvpt.bench.suites import Cell
from tests.bench.inline_pool import InlinePool
from tests.bench.invented import record

CELL = Cell('suite', 'task', '', 'method', 'net', 'none.py', metric='top1')


def settings_for(out, name='own', seeds=(0, 1, 2)):
    return settings.Settings(get_protocol(name), Path(out), seeds)


def test_each_protocol_has_files_of_its_own():
    own, other = settings_for('out'), settings_for('out', 'own-best-val')
    path = settings.record_path(own, CELL, 'seed0')
    assert path == Path('out/records/suite/own/task/method_net_seed0.json')
    folder = settings.run_folder(own, CELL, 0)
    assert folder == Path('out/runs/own/task/method_net_seed0')
    assert settings.record_path(other, CELL, 'seed0') != path
    assert settings.run_folder(other, CELL, 0) != folder
    stated = replace(CELL, folder='short')
    assert settings.run_folder(own, stated, 0) == Path('out/short/seed0')
    space = Space({})
    folders = {settings.search_spec(CELL, s, space)['work_dir'] for s in (own, other)}
    assert len(folders) == 2
    assert own.storage == 'sqlite:///out/search.db'


def test_a_search_is_told_what_other_seeds_read():
    spec = settings.search_spec(CELL, settings_for('out'), Space({}))
    assert spec['options'] == {} and spec['draws'] == [{}]
    drawn = replace(CELL, options={'root': 'draw{seed}'})
    seeds = settings_for('out', seeds=(4, 1, 2))
    spec = settings.search_spec(drawn, seeds, Space({}))
    assert spec['options'] == {'root': 'draw4'}, 'the draw of the first seed'
    assert spec['draws'] == [{'root': f'draw{seed}'} for seed in (4, 1, 2)]


def test_the_record_of_a_search_is_kept(tmp_path):
    """Run again, it would say that the trials took no time, with today's code."""
    pytest.importorskip('optuna')
    from tests.bench.searches import start_search

    search = start_search(tmp_path, f'sqlite:///{tmp_path}/search.db')
    spec = settings.search_spec(CELL, settings_for(tmp_path), Space({}))
    spec.update(folder=str(tmp_path), pause=0.0)
    search.spec.update(spec)
    run(InlinePool(), [search])
    told = record(
        protocol__name='own',
        protocol__summary='',
        protocol__test_reads='never',
    )
    inspected = {k: told[k] for k in ('protocol', 'data', 'code')}
    inspected.update(digest='abc', device='cpu')
    path = tmp_path / 'search.json'

    def write(seconds):
        code = dict(told['code'], commit=f'commit of {seconds}')
        search.inspected = dict(inspected, code=code)
        search.start = time.monotonic() - seconds
        made = write_search(path, search)
        assert made == read_record(path)
        return made

    first = write(100.0)
    assert 100.0 <= first['measured']['seconds'] < 150.0
    assert write(0.1) == first
    lost = next(iter(search.outcomes))
    search.outcomes[lost] = replace(search.outcomes[lost], cost=9.0)
    again = write(50.0)  # other trials
    assert 50.0 <= again['measured']['seconds'] < 100.0
    inspected['digest'] = 'other'
    assert write(60.0)['code']['commit'] == 'commit of 60.0'
    assert path.with_suffix('.old').exists()
