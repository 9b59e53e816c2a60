# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The report of invented records, from files to files."""

import pytest

from mmvpt.bench import get_protocol, write_record
from mmvpt.bench import report as report_command
from mmvpt.bench.collect import collect
from tests.bench.results import group, runs


@pytest.fixture
def report(tmp_path):
    """Write records and report on them."""

    def made(records, *arguments):
        for i, record in enumerate(records):
            write_record(tmp_path / 'records' / f'{i}.json', record)
        out = report_command.report([tmp_path], None, '--no-plots' not in arguments)
        return {path.name: path for path in out.iterdir()}

    return made


def test_lora_has_a_source(report):
    files = report(group('fgvc', {1: 80.0, 2: 81.0}, method='lora'))
    page = files['report.md'].read_text()
    assert 'Published, lora (in21k): VAPT (arXiv 2501.18936)' in page
    assert '| mean of 5 tasks |' in page and '82.5 ± 0.7' in page
    tex = files['report.tex'].read_text()
    assert tex.startswith('% Needs \\usepackage{booktabs}')
    assert 'fgvc, protocol vpt: top-1 accuracy on test' in tex
    assert 'VAPT (arXiv 2501.18936)' in tex
    assert 'bars_fgvc_vpt.png' in files and '(bars_fgvc_vpt.png)' in page
    assert 'parameters_fgvc_vpt.png' not in files  # of one row


def test_test_selected_figures_say_so_everywhere(report, capsys):
    paper = get_protocol('davpt-paper')
    changes = dict(
        protocol__name=paper.name,
        protocol__label=paper.label,
        protocol__leak_free=False,
        protocol__selection=paper.selection,
        protocol__test_reads='every epoch',
        protocol__summary=paper.summary,
    )
    files = report(runs('birds', {0: 80.0}, **changes), '--no-plots')
    assert set(files) == {'report.md', 'report.csv', 'report.tex'}
    shown = capsys.readouterr().out
    for text in (
        shown,
        files['report.md'].read_text(),
        files['report.tex'].read_text(),
    ):
        assert 'vpt-deep [test-selected]' in text
        assert 'protocol davpt-paper (test-selected)' in text
        assert 'TEST DATA CHOSE THE EPOCH' in text
    assert ',test-selected,' in files['report.csv'].read_text()


def test_notices_stand_in_the_page_and_on_the_terminal(report, capsys):
    records = runs('birds', {0: 80.0, 1: 81.0})[:1]
    page = report(records, '--no-plots')['report.md'].read_text()
    notice = 'otice: mine, protocol vpt: vpt-deep on birds: seeds [1] are missing'
    assert notice in page and notice in capsys.readouterr().err


@pytest.mark.parametrize(
    ('values', 'planned', 'said'),
    [
        ({1: 1.0}, None, 'in %, 1 seed; '),
        ({1: 1.0}, 5, 'in %, 1 of 5 seeds; '),
        (
            {1: 1.0, 2: 1.0},
            5,
            'in %, mean ± sample standard deviation of 2 of 5 seeds; ',
        ),
        ({1: 1.0, 2: 1.0}, 2, 'in %, mean ± sample standard deviation of 2 seeds; '),
    ],
)
def test_the_caption_counts_seeds(values, planned, said):
    changes = {'protocol__protocol_seeds': list(range(planned))} if planned else {}
    (table,), _ = collect(runs('birds', values, **changes))
    assert said in report_command.page([table], [], [])
    assert 'Backbone: in21k. ' in report_command.page([table], [], [])
