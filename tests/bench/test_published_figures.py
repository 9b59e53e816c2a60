# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The tables of the documentation are those of the records beside them."""

import json
import re

import pytest

from mmvpt.bench import paired, read_records, tables
from mmvpt.bench.collect import collect
from tests.config_files import ROOT

REFERENCES = {
    'cub100_1k': ['linear probe, converged', 'VPT-deep'],
    'cub100_1k_davpt': ['no metric losses'],
    'msrc21': ['frozen, linear head', 'VPT-deep, linear head', 'frozen, UPerNet'],
}


def rows(text):
    """Return what stands in the rows of all Markdown tables of a page."""
    lines = re.findall(r'^\|(.*)\|$', text, re.MULTILINE)
    return [tuple(cell.strip() for cell in line.split('|')) for line in lines]


def of_records(suite):
    """Return rows of figures and of differences as they have to stand in a page."""
    records, notices = read_records([ROOT / 'docs' / suite / 'records'])
    (table,), odd = collect(records)
    assert not notices
    assert all('code differs between runs' in notice for notice in odd)
    assert len({len(row.all()) for row in table.rows}) == 1  # as many seeds for all
    figures = tables.cells(table)
    unquiet = figures[0].index('s per run')  # on a machine that was shared
    figures = [tuple(row[:unquiet] + row[unquiet + 1 :]) for row in figures]
    return figures, [*map(tuple, paired.cells(table, REFERENCES[suite]))]


@pytest.mark.parametrize('suite', REFERENCES)
def test_results(suite):
    figures, differences = of_records(suite)
    results = rows((ROOT / 'docs/results.md').read_text())
    assert set(figures) | set(differences) <= set(results)


def test_readme():
    """Some of the methods, with nothing else in the table."""
    (head, *figures), (_, *differences) = of_records('cub100_1k')
    test = head.index('test')
    expected = {
        (row[0], row[1], row[test], above)
        for row, (*_, above) in zip(figures, differences, strict=True)
    }
    _, text = (ROOT / 'README.md').read_text().split('## Results')
    head, rule, *shown = rows(text.split('\n## ')[0])
    assert head[0] == 'method' and set(''.join(rule)) == {'-'}
    assert len(shown) > 5 and set(shown) <= expected


def test_epochs():
    """Accuracy over epochs, with the settings that the searches chose."""
    text = (ROOT / 'docs/cub100_1k/epochs.json').read_text()
    shown = rows((ROOT / 'docs/results.md').read_text())
    for run in json.loads(text)['runs']:
        name = run['method'].replace(' ', '-').replace(',', '')
        path = ROOT / f'docs/cub100_1k/records/{name}_dinov2-s_search.json'
        best = json.loads(path.read_text())['best']
        options = {o.split('=')[0]: o.split('=')[1] for o in run['options']}
        assert options == {key: str(value) for key, value in best['overrides'].items()}
        assert run['epochs'] == [2, 4, 6, 8, 10, 12]
        values = [best['value'], *run['top1']]
        figures = (*(f'{value:.1f}' for value in values), f'{run["seconds"][-1]:.0f}')
        assert (run['method'], *figures) in shown
