# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Measure everything that a GPU is to say, and fill the page of it.

Cells run one after the other, each a command of its own; one whose result is there is
not run again, so a run that was broken off goes on. The page is written after each.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mmvpt.display import markdown
from mmvpt.errors import UserError
from mmvpt.files import ROOT, write_whole

from .report import MEBI, net, page

PAGE = 'docs/performance/gpu.md'
_SPEED = (
    'speed --device cuda --threads 1 --repeats 30 --warmup 5 --num-tokens 10 50 100 '
    '--methods vpt-deep vapt da-vpt-guided --against full-token bf16-frozen bare-timm '
    'full-timm lora-peft --measure time memory --reference bare-timm full-timm '
    'lora-peft'
)
_ALONE = (
    'speed --device cuda --threads 1 --repeats 30 --warmup 5 --num-tokens 50 '
    '--methods vpt-deep --against full-token bare-timm full-timm --measure time memory '
    '--reference bare-timm full-timm --dtype bf16 --batch-size 64'
)
#: A program of ``tools/speed`` and its arguments, by the name of the cell.
CELLS = {
    'ViT-B, 224, bf16': f'{_SPEED} --dtype bf16 --batch-size 64',
    'ViT-B, 224, bf16, batch 256': f'{_SPEED} --dtype bf16 --batch-size 256',
    'ViT-B, 224, fp32': f'{_SPEED} --batch-size 64',
    'ViT-L, 224, bf16': f'{_SPEED} --arch vit-l --dtype bf16 --batch-size 64',
    'ViT-L, 512, bf16': f'{_SPEED} --arch vit-l --image-size 512 --dtype bf16 '
    '--batch-size 16',
    'ViT-B, 224, bf16, compiled': f'{_ALONE} --compiled',
    'ViT-B, 224, bf16, flash attention': f'{_ALONE} --attention flash_attention',
    'ViT-B, 224, bf16, plain attention': f'{_ALONE} --attention math',
    'prefix cache, bf16': 'prefix --device cuda --dtype bf16 --images 256 '
    '--batch-size 64',
    'data beside a step, bf16': 'data --device cuda --dtype bf16 --batch-size 64 '
    '--workers 2 --repeats 50',
    'many tasks': 'tasks --device cuda --batch-size 64',
    'trials in one batch, ViT-B, 224': 'tasks --mode train --device cuda --tasks 1 4 8 '
    '--batch-size 32 --repeats 30',
    'trials in one batch, ViT-S, 96': 'tasks --mode train --device cuda --tasks 1 4 16 '
    '--arch vit-s --image-size 96 --batch-size 32 --repeats 30',
}


def fill(
    *,
    cells: Sequence[str] | None = None,
    folder: str = 'docs/performance/gpu',
    timeout: int = 3600,
) -> None:
    """Run cells whose results are missing, and write the page.

    Args:
        cells: Names of cells [all].
        folder: Where results lie, one JSON file for each cell.
        timeout: Seconds that a cell may take.

    Raises:
        UserError: If a cell is unknown.
    """
    chosen = list(CELLS) if cells is None else list(cells)
    for name in chosen:
        if name not in CELLS:
            known = '; '.join(CELLS)
            raise UserError(f'there is no cell {name!r}; there are: {known}.')
    for name in chosen:
        file = _file(folder, name)
        if file.exists():
            print(f'{name}: there is {file}')
            continue
        print(name, flush=True)
        program, *words = CELLS[name].split()
        tool = str(ROOT / 'tools/speed' / f'{program}.py')
        words += ['--out', str(file.with_suffix(''))]
        try:
            subprocess.run([sys.executable, tool, *words], timeout=timeout, check=True)
        except (subprocess.SubprocessError, OSError) as error:
            print(f'{name}: {error}', file=sys.stderr)
        write_whole(ROOT / PAGE, write_page(folder).encode())
    write_whole(ROOT / PAGE, write_page(folder).encode())
    print(ROOT / PAGE)


def write_page(folder: str | Path) -> str:
    """Return the page of the results in a folder, as Markdown."""
    lines = [
        '# On a GPU',
        '',
        'Written by `python tools/speed/gpu.py`, which runs what is missing. `bf16` is '
        'autocast; `vpt-deep/bf16-frozen` keeps frozen weights in bfloat16.',
    ]
    rows = [['cell', 'M', 'train ms', 'full-token', 'full', 'LoRA', 'MiB', 'infer ms']]
    details: list[str] = []
    for name, command in CELLS.items():
        file = _file(folder, name)
        details += ['', f'## {name}', '']
        if not file.exists():
            rows.append([name, 'not measured', *[''] * 6])
            program, _, words = command.partition(' ')
            details.append(f'Not measured: `python tools/speed/{program}.py {words}`')
            continue
        result = json.loads(file.read_text())
        if 'groups' in result:
            rows += _rows(name, result)
            details.append(page(result))
        else:
            details += [f'`{result["command"]}`', '', result['summary']]
    head = 'A step of `vpt-deep`, and what part of others it takes, medians:'
    return '\n'.join([*lines, '', head, '', markdown(rows), *details]).rstrip() + '\n'


def _rows(name: str, result: dict) -> list[list[str]]:
    """Return a row for each number of prompts: times of VPT-deep and their ratios."""
    found: dict[int, dict[str, dict]] = {}
    for group in result['groups']:
        setting = group['setting']
        (row,) = (row for row in group['rows'] if row['subject'] == 'vpt-deep')
        found.setdefault(setting['num_tokens'], {})[setting['mode']] = row

    def time(row: dict) -> str:
        return f'{1e3 * row["wall"]["median"]:.1f}' if 'wall' in row else ''

    def part(row: dict, other: str) -> str:
        value = row.get('ratios', {}).get(other, {}).get('wall')
        return f'{value["median"]:.3f}' if value else ''

    return [
        [name, str(count), time(train := modes.get('train', {}))]
        + [part(train, other) for other in ('full-token', 'full-timm', 'lora-peft')]
        + [f'{net(train["memory"]) / MEBI:.0f}' if 'memory' in train else '']
        + [time(modes.get('infer', {}))]
        for count, modes in found.items()
    ]


def _file(folder: str | Path, name: str) -> Path:
    stem = name.lower().replace(', ', '_').replace(' ', '-')
    return ROOT / folder / f'{stem}.json'
