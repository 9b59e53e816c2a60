# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Tables as CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from .tables import MISSING, Table

#: A LaTeX table with more columns or characters is scaled to the width of the text.
COLUMNS, CHARACTERS = 12, 80
_LATEX = {
    **{char: f'\\{char}' for char in '&%_#${}'},
    '\\': r'\textbackslash{}',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '<': r'\textless{}',
    '>': r'\textgreater{}',
    '|': r'\textbar{}',
    '±': r'$\pm$',
    MISSING: '--',
}
LATEX_HEAD = (
    '% Needs \\usepackage{booktabs}, and for \\resizebox and \\rotatebox\n'
    '% \\usepackage{graphicx}.\n\n'
)
_SCALED = ('\\scriptsize\\setlength{\\tabcolsep}{2pt}', '\\resizebox{\\textwidth}{!}{%')


def latex(rows: Sequence[Sequence[str]], caption: str) -> str:
    """Return rows as a LaTeX table, see ``LATEX_HEAD``."""
    lines = [[_escaped(cell) for cell in row] for row in rows]
    many = len(rows[0]) > COLUMNS
    width = sum(max(map(len, column)) for column in zip(*rows))
    scaled = many or width > CHARACTERS
    if many:
        first, *others = lines[0]
        lines[0] = [first, *(f'\\rotatebox{{90}}{{{cell}}}' for cell in others)]
    columns = ''.join('l' if c in ('method', 'settings') else 'r' for c in rows[0])
    head, *body = [' & '.join(line) + r' \\' for line in lines]
    return '\n'.join(
        [
            '\\begin{table}\n\\centering',
            f'\\caption{{{_escaped(caption)}}}',
            *(_SCALED if scaled else ()),
            f'\\begin{{tabular}}{{{columns}}}\n\\toprule',
            head,
            '\\midrule',
            *body,
            '\\bottomrule',
            '\\end{tabular}' + ('}' if scaled else ''),
            '\\end{table}\n',
        ]
    )


def _escaped(text: str) -> str:
    text = ''.join(_LATEX.get(char, char) for char in text)
    return re.sub(r'^-(?=[\d.]+$)', '$-$', text)  # a minus, not a hyphen


def as_csv(tables: Sequence[Table]) -> str:
    """Return all figures, one line for each method and column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(
        'suite,protocol,label,method,backbone,column,metric,seeds,mean,std,'
        'tuned_parameters,published,difference,published_protocol,source'.split(',')
    )
    for table in tables:
        for row in table.rows:
            paper, figures = table.published(row), table.figures(row)
            for column in table.columns:
                figure = figures.get(column)
                stated = paper.values.get(column) if paper else None
                mean = figure.mean if figure else None
                gap = None if mean is None or stated is None else mean - stated
                writer.writerow(
                    [
                        table.suite,
                        table.protocol['name'],
                        table.protocol['label'],
                        row.method,
                        row.backbone,
                        column,
                        table.metric,
                        (figure.seeds if figure else None) or '',
                        _rounded(mean),
                        _rounded(figure.std if figure else None),
                        f'{row.tuned():.0f}',
                        _rounded(stated),
                        _rounded(gap),
                        *(
                            (paper.protocol, paper.source)
                            if paper and stated is not None
                            else ('', '')
                        ),
                    ]
                )
    return text.getvalue()


def _rounded(value: float | None) -> str:
    return '' if value is None else f'{value:.4f}'
