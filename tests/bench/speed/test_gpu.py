# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The page of the GPU fills itself, cell by cell."""

import pytest

from mmvpt.bench.speed import gpu, speed
from mmvpt.errors import UserError
from mmvpt.files import ROOT
from tests.tools.programs import load_tool

TINY = 'speed --arch vit-ti --image-size 32 --batch-size 2 --num-tokens 3 --threads 1'


def test_cells_are_commands(monkeypatch):
    monkeypatch.setattr(speed, 'measure_methods', lambda **given: given)
    for command in gpu.CELLS.values():
        program, *words = command.split()
        assert (ROOT / 'tools/speed' / f'{program}.py').is_file()
        if program == 'speed':
            args = load_tool('speed/speed').main(words)
            assert set(args['reference']) <= set(args['against'])


def test_the_page_is_that_of_the_results():
    assert (ROOT / gpu.PAGE).read_text() == gpu.write_page('docs/performance/gpu')


def test_fill(tmp_path, monkeypatch, capfd):
    cells = {
        'tiny': f'{TINY} --methods vpt-deep --against full-token full-timm --measure '
        'time --repeats 1 --warmup 0 --reference full-timm --modes train',
        'serving': 'tasks --arch vit-ti --image-size 32 --batch-size 2 --repeats 1 '
        '--tasks 1 2',
        'wrong': f'{TINY} --num-tokens 0',
    }
    monkeypatch.setattr(gpu, 'CELLS', cells)
    monkeypatch.setattr(gpu, 'PAGE', str(tmp_path / 'gpu.md'))
    gpu.fill(folder=str(tmp_path), cells=['tiny', 'wrong'])
    assert 'wrong: Command' in capfd.readouterr().err
    page = (tmp_path / 'gpu.md').read_text()
    table = [line.split('|') for line in page.splitlines() if line.startswith('| ')]
    assert table[1][1].strip() == 'tiny' and table[1][2].strip() == '3'
    assert all(float(cell) > 0 for cell in table[1][3:6])
    assert page.count('Not measured: `python tools/speed/') == 2
    before = (tmp_path / 'tiny.json').stat().st_mtime_ns
    gpu.fill(folder=str(tmp_path), cells=['tiny', 'serving'])
    assert (tmp_path / 'tiny.json').stat().st_mtime_ns == before
    assert 'mixed / one by one' in (tmp_path / 'gpu.md').read_text()
    with pytest.raises(UserError, match='no cell'):
        gpu.fill(cells=['other'])


@pytest.mark.sweep
def test_lora_of_peft(tmp_path):
    pytest.importorskip('peft', reason='requirements/sweep.txt has it')
    words = f'{TINY} --methods vpt-deep --against lora-peft --measure time operations'
    words += (
        ' --repeats 1 --warmup 0 --modes train --reference lora-peft --attention math'
    )
    words = [*words.split()[1:], '--out', str(tmp_path / 'peft')]
    result = load_tool('speed/speed').main(words)
    (group,) = result['groups']
    ours, lora = group['rows']
    assert ours['ratios']['lora-peft']['operations'] < 1 and lora['operations'] > 0
