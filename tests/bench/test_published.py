# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What papers state is found by the names that records have."""

import re

import pytest

from mmvpt.bench.collect import collect
from mmvpt.bench.suites import ROOT, load_suite
from mmvpt.bench.tables import published
from mmvpt.zoo.tables import PUBLISHED, read_table
from tests.bench.results import runs


def test_every_figure_has_a_source():
    sources = read_table('published_sources')
    keys = [(row['method'], row['backbone']) for row in sources]
    assert len(keys) == len(set(keys))
    assert set(keys) == {key[:2] for key in PUBLISHED}
    for row in sources:
        assert row['protocol'] and re.search(r'arXiv \d{4}\.\d{5}', row['source'])


def test_means_of_vtab_follow_from_the_groups_or_are_stated():
    lora = published('lora', 'in21k')
    assert lora.values['mean of groups'] == pytest.approx((78.26 + 83.78 + 56.20) / 3)
    assert lora.values['mean of tasks'] == pytest.approx(70.1337, abs=1e-4)
    adapter = published('adapter-plus', 'in21k')
    assert adapter.values == {'fgvc': 90.7, 'mean of groups': 77.6}
    assert published('ssf', 'in21k') is None


def test_a_segmentation_record_meets_its_figure():
    suite = load_suite('ade20k', ['davpt'], 'setr-pup-vit-large-p16')
    (cell,) = suite.cells.values()
    (table,), _ = collect(
        runs(
            cell.task,
            {0: 44.0},
            cell.method,
            cell.backbone,
            'mIoU',
            suite=cell.suite,
            group=cell.group,
        )
    )
    paper = table.published(table.rows[0])
    assert paper.values['ade20k'] == 45.10
    assert paper.source == 'DA-VPT (arXiv 2505.23694), Table 2'
    other = runs('ade20k', {0: 44.0}, 'davpt', 'upernet-vit-base-p16', 'mIoU')
    (table,), _ = collect(other)
    assert table.published(table.rows[0]) is None


def test_configs_for_segmentation_state_the_same():
    stated = {}
    for path in (ROOT / 'configs').glob('*/*_*_*.py'):
        method, backbone, task = path.stem.split('_')[:3]
        found = re.search(r'^# Published: mIoU ([\d.]+) s', path.read_text(), re.M)
        if found and task in ('ade20k', 'pascal-context'):
            stated[method, backbone, task] = found[1]
    assert len(stated) == 18
    assert stated == {key: PUBLISHED[key] for key in PUBLISHED if '-p16' in key[1]}
