# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Tables as Markdown, and nothing but lines off a terminal."""

import io
import sys

from mmvpt import display


def test_rows_become_a_markdown_table():
    rows = [('a', 'b|c'), ('[red]1[/red] :smile:', '2 ± 3'), ('', '–')]
    assert display.markdown(rows).splitlines() == [
        '| a                    | b\\|c  |',
        '|----------------------|-------|',
        '| [red]1[/red] :smile: | 2 ± 3 |',
        '|                      | –     |',
    ]


def test_wide_tables_are_not_wrapped():
    text = display.markdown([['x' * 300] * 9, ['y' * 200] * 9])
    assert text.count('\n') == 3 and 'x' * 300 in text and '…' not in text


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_for_terminals(capsys, monkeypatch):
    monkeypatch.setenv('TERM', 'xterm')
    assert list(display.progress(range(3), 'counting')) == [0, 1, 2]
    with display.progress_bar(2, 'runs') as bar:
        bar.update(bar.task_ids[0], completed=1)
    display.print_markdown('| a |\n|---|\n| 1 |')
    shown = capsys.readouterr()
    assert shown.err == '' and shown.out == '| a |\n|---|\n| 1 |\n'
    for name in ('stdout', 'stderr'):
        monkeypatch.setattr(sys, name, Terminal())
    assert list(display.progress(iter(range(3)), 'counting', 3)) == [0, 1, 2]
    assert 'counting' in sys.stderr.getvalue()
    display.print_markdown('| a |\n|---|\n| 1 |')
    assert '─' in sys.stdout.getvalue() and '|' not in sys.stdout.getvalue()
