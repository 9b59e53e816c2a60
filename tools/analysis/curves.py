#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Compare the training curves of several runs.

Writes steps and values to OUT.npz, then OUT.png with one panel for each scalar:

    python tools/analysis/curves.py work_dirs/vpt work_dirs/davpt --out curves
    python tools/analysis/curves.py RUN --list
    python tools/analysis/curves.py RUN --keys loss lr accuracy/top1
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / 'mmvpt' / '__init__.py').is_file():  # a checkout needs no installation
    sys.path.insert(0, str(ROOT))

from mmvpt import analysis  # noqa: E402
from mmvpt.analysis import command  # noqa: E402
from mmvpt.engine.run import run_tool  # noqa: E402

_COSTS = ('time', 'data_time', 'memory', 'lr', 'base_lr', 'momentum', 'grad_norm')


def default_keys(runs: Mapping[str, Mapping[str, analysis.Curve]]) -> list[str]:
    """Return the loss, and what validation measured first of all.

    Args:
        runs: By name of the run, its curves.
    """
    names = [name for curves in runs.values() for name in curves]
    keys = [name for name in names if name == 'loss'][:1]
    measured = [
        name
        for name in names
        if 'loss' not in name
        and name not in _COSTS
        and not name.startswith(('val/', 'prompt/', 'mapping/'))
    ]
    keys += measured[:1]
    return keys or names[:1]


def names_of(folders: Sequence[str]) -> list[str]:
    """Return short different names: paths without what all have in common.

    Args:
        folders: Work dirs.
    """
    paths = [os.path.abspath(folder) for folder in folders]
    if len(paths) == 1:
        return [os.path.basename(paths[0])]
    base = os.path.commonpath(paths)
    names = [os.path.relpath(path, base) for path in paths]
    last = [os.path.basename(name) for name in names]
    if len(set(last)) == 1 and all(name != last[0] for name in names):
        names = [os.path.dirname(name) for name in names]
    return names


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('runs', nargs='+', help='work dirs')
    parser.add_argument('--names', nargs='+', help='names of the runs [their paths]')
    parser.add_argument(
        '--keys', nargs='+', help='scalars [loss and the first one of validation]'
    )
    parser.add_argument('--list', action='store_true', help='only list the scalars')
    parser.add_argument('--log', action='store_true', help='logarithmic axes')
    command.add_out(parser, 'curves')
    args = parser.parse_args(argv)
    names = args.names or names_of(args.runs)
    if len(names) != len(args.runs) or len(set(names)) != len(names):
        parser.error(f'{len(args.runs)} runs need as many different names, got {names}')
    runs = {name: analysis.read_curves(run) for name, run in zip(names, args.runs)}
    logged = list(dict.fromkeys(name for curves in runs.values() for name in curves))
    if args.list:
        print('\n'.join(logged))
        return
    keys = args.keys or default_keys(runs)
    unknown = [key for key in keys if key not in logged]
    if unknown:
        parser.error(f'no run logged {unknown[0]!r}; logged are {", ".join(logged)}')
    arrays = {}
    for name, curves in runs.items():
        for key, curve in curves.items():
            # A slash would become a folder in the file.
            base = f'{name}|{key}'.replace('/', '.')
            arrays[f'{base}|steps'] = curve.steps
            arrays[f'{base}|values'] = curve.values
    path = command.save_arrays(args.out, arrays)

    from mmvpt.analysis import pictures

    pictures.save(pictures.draw_curves(runs, keys, args.log), path)
    for key in keys:
        for name, curves in runs.items():
            if key in curves:
                curve = curves[key]
                print(
                    f'{key}  {name}: {curve.values[-1]:.4g} after '
                    f'{curve.steps[-1]} {curve.unit}s'
                )


if __name__ == '__main__':
    run_tool(main)
