# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""CSV and LaTeX."""

import csv
import io
import re

from mmvpt.bench import get_protocol
from mmvpt.bench.collect import collect
from mmvpt.bench.formats import as_csv, latex
from mmvpt.bench.tables import cells
from tests.bench.results import group, runs, vtab


def lines_of(records):
    return list(csv.DictReader(io.StringIO(as_csv(collect(records)[0]))))


def test_csv_has_a_line_for_each_column():
    lines = lines_of(vtab())
    assert len(lines) == 24
    assert (
        list(lines[0])
        == (
            'suite protocol label method backbone column metric seeds mean std '
            'tuned_parameters published difference published_protocol source'
        ).split()
    )
    found = {line['column']: line for line in lines}
    line = found['vtab-cifar100']
    assert (line['suite'], line['protocol'], line['label']) == ('vtab', 'vpt', '')
    assert (line['method'], line['backbone']) == ('vpt-deep', 'in21k')
    assert (line['mean'], line['std'], line['seeds']) == ('41.0000', '1.4142', '2')
    assert (line['published'], line['difference']) == ('78.8000', '-37.8000')
    assert '2203.12119' in line['source'] and '5 seeds' in line['published_protocol']
    mean = found['mean of groups']
    assert (mean['std'], mean['seeds']) == ('1.4142', '2')


def test_csv_leaves_what_is_missing_empty():
    records = group('fgvc', {1: 50.0}, method='lora')
    found = {line['column']: line for line in lines_of(records[1:])}
    for column, published in (('cub', ''), ('fgvc', '89.4600')):
        line = found[column]
        assert [line[k] for k in ('seeds', 'mean', 'std', 'difference')] == [''] * 4
        assert line['published'] == published and bool(line['source']) == bool(
            published
        )
    assert found['cars']['std'] == '' and found['cars']['mean'] == '54.0000'


def test_csv_names_the_label():
    paper = get_protocol('davpt-paper')
    changes = dict(protocol__name=paper.name, protocol__label=paper.label)
    assert lines_of(runs('birds', {1: 1.0}, **changes))[0]['label'] == 'test-selected'


def test_latex_escapes():
    text = latex([['method', 'test'], ['a\\b{c}~^$<x_1>|#&%', '50.0 ± 0.1']], '100 %–')
    assert (
        r'a\textbackslash{}b\{c\}\textasciitilde{}\textasciicircum{}\$'
        r'\textless{}x\_1\textgreater{}\textbar{}\#\&\% & 50.0 $\pm$ 0.1 \\'
    ) in text
    assert r'\caption{100 \%--}' in text
    assert latex([['difference'], ['-1.5']], '').count('$-$1.5') == 1
    assert '$-$' not in latex([['method'], ['vpt-5'], ['-x']], '')


def test_latex_scales_what_is_wide():
    small = latex([['method', 'test'], ['a', '50.0']], '')
    assert 'resizebox' not in small and r'\begin{tabular}{lr}' in small
    (table,), _ = collect(vtab())
    text = latex(cells(table), '')
    assert '\\resizebox{\\textwidth}{!}{%\n\\begin{tabular}{l' in text
    assert '\\end{tabular}}\n' in text and r'\rotatebox{90}{cifar100}' in text
    assert '\\scriptsize' in text
    (body,) = re.findall(r'\\toprule\n(.*)\\bottomrule', text, re.S)
    rows = [line for line in body.splitlines() if line.endswith(r'\\')]
    assert len(rows) == 4 and {row.count(' & ') for row in rows} == {26}
    long = latex([['method', 'test'], ['a' * 90, '50.0']], '')
    assert 'resizebox' in long and 'rotatebox' not in long
