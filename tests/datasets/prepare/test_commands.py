# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The two commands, and that docs/data.md says what the table of tasks says."""

import json
import re
from pathlib import Path

import pytest

from mmvpt.datasets.prepare import TASKS
from mmvpt.datasets.prepare.layouts import expected_counts
from mmvpt.errors import UserError
from tools.data import check as check_tool
from tools.data import prepare as prepare_tool

from . import raw

ROOT = Path(__file__).resolve().parents[3]
DOC = (ROOT / 'docs/data.md').read_text()


def run(tool, *args):
    """Return the exit code of a command's main function."""
    try:
        tool.main([str(arg) for arg in args])
    except UserError as error:
        return str(error)
    except SystemExit as stop:
        return stop.code
    return 0


def test_prepare_then_check(tmp_path, capsys):
    raw.smallnorb(tmp_path / 'raw')
    source = ('--source', tmp_path / 'raw', '--out', tmp_path / 'data')
    stop = run(prepare_tool, 'smallnorb_azi', *source)
    assert 'train800 would have 40 images, expected 800' in stop
    assert not (tmp_path / 'data/vtab-1k/smallnorb_azi').exists()
    assert run(prepare_tool, 'smallnorb_azi', *source, '--allow-counts') == 0
    assert 'train800 40, val200 20, test 20' in capsys.readouterr().out
    assert 'nothing is overwritten' in run(prepare_tool, 'smallnorb_azi', *source)

    out = ('--out', tmp_path / 'data')
    assert run(check_tool, 'smallnorb_azi', *out) == 1
    assert re.search(
        r'smallnorb_azi .* 18 .* unconfirmed +\| counts differ', capsys.readouterr().out
    )
    assert run(check_tool, *out, '--allow-counts') == 0
    assert run(check_tool, 'cub', *out) == 1  # named, but absent
    capsys.readouterr()
    run(check_tool, 'smallnorb_azi', *out, '--json')
    (report,) = json.loads(capsys.readouterr().out)
    assert report['verdict'] == 'counts differ'
    assert report['counts']['train800val200'] == 60


def test_check_sees_what_happened_since(tmp_path, capsys):
    raw.smallnorb(tmp_path / 'raw')
    out = ('--out', tmp_path / 'data', '--allow-counts')
    run(prepare_tool, 'smallnorb_ele', '--source', tmp_path / 'raw', *out, '--quiet')
    folder = tmp_path / 'data/vtab-1k/smallnorb_ele'
    assert run(check_tool, *out) == 0
    listed = sorted(folder.glob('images/test/*.png'))

    listed[0].write_bytes(listed[1].read_bytes())
    assert run(check_tool, *out) == 1
    assert '1 files changed since they were prepared' in capsys.readouterr().out
    listed[0].write_bytes(b'no image')
    assert run(check_tool, *out) == 1
    assert 'cannot be decoded' in capsys.readouterr().out
    listed[0].unlink()
    assert run(check_tool, *out) == 1
    assert '1 listed files do not exist' in capsys.readouterr().out
    with (folder / 'val200.txt').open('a') as file:
        file.write(f'images/test/{listed[1].name} 3\n')
    assert run(check_tool, *out) == 1
    printed = capsys.readouterr().out
    assert 'images are in two splits' in printed
    assert 'not the union of train800 and val200' in printed


def test_messages(capsys):
    assert "Did you mean 'dsprites_loc'" in run(prepare_tool, 'dsprites_location')
    assert run(prepare_tool, 'cub') == 2
    printed = capsys.readouterr().err
    assert 'cub needs --source: CUB_200_2011.tgz or its folder' in printed


@pytest.mark.parametrize('name', TASKS)
def test_documented(name):
    task = TASKS[name]
    section = re.search(rf'^### {name}: .*?(?=^##|\Z)', DOC, re.DOTALL | re.MULTILINE)
    text = ' '.join(section.group().split())
    for expected in (
        task.homepage,
        task.terms,
        task.wants,
        f'`data/{task.folder}/`',
        f'Classes: {task.num_classes}.',
        f'python tools/data/prepare.py {name} ',
    ):
        assert expected in text, expected
    for split, count in expected_counts(task).items():
        recalled = ' (unverified)' if split in task.unverified else ''
        assert f'{split} {count:,}{recalled}' in text
