# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The tables of the documentation are those of the records beside them."""

import re

from mmvpt.bench import paired, read_records, tables
from mmvpt.bench.collect import collect
from tests.config_files import ROOT


def rows(text):
    """Return what stands in the rows of all Markdown tables of a page."""
    lines = re.findall(r'^\|(.*)\|$', text, re.MULTILINE)
    return [tuple(cell.strip() for cell in line.split('|')) for line in lines]


def test_photographs():
    records, notices = read_records([ROOT / 'docs/cub100_1k/records'])
    (table,), odd = collect(records)
    assert not notices
    assert all('code differs between runs' in notice for notice in odd)
    assert all(len(row.all()) == 5 for row in table.rows)
    differences = paired.cells(table, ['linear probe, converged', 'VPT-deep'])
    results = rows((ROOT / 'docs/results.md').read_text())
    readme = rows((ROOT / 'README.md').read_text())
    for expected in map(tuple, differences):
        assert expected in results
    for shown, (name, _, above) in zip(tables.cells(table), differences, strict=True):
        cells = dict(zip(tables.cells(table)[0], shown, strict=True))
        del cells['s per run']  # on a machine that was shared
        assert tuple(cells.values()) in results
        if name != 'method':
            assert (name, cells['tuned parameters'], cells['test'], above) in readme
