#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Tune a small frozen ViT on real handwritten digits, with every method, and compare.

Exports scikit-learn's digits, pretrains a ViT on digits 0-4 in four rotations, then
tunes it on upright digits 5-9 as the benchmark runner does, with the configs named in
configs/_base_/suites/demo.py. Writes records, a table and a picture.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.harness.programs import run_program, say  # noqa: E402
from tools.harness.quiet import find_function  # noqa: E402

PRETRAIN = 'configs/baselines/pretrain_vit-digits_digits-source.py'
EPOCHS = 15  # of PRETRAIN
SUITE = 'demo'
#: The row that others are compared with.
REFERENCE = 'linear probe, converged'


@dataclass(frozen=True)
class Result:
    """What a run gave."""

    tuned: int  # parameters that train
    seconds: float  # of training and validation
    val: float  # top-1 on the validation images, in %
    test: float  # top-1 on the test images, in %


Results = dict[tuple[str, int], Result]  # by method and seed


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default='work_dirs/demo', help='where results go')
    parser.add_argument('--data-root', default='data', help='where images go')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--workers', type=int, default=min(2, os.cpu_count() or 1))
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the demo.

    Args:
        argv: Arguments; those of the process by default.

    Raises:
        RuntimeError: If a run failed.
    """
    # Not at the top: worker processes import this file, and need nothing of it.
    export_digits = find_function('mmvpt.datasets:export_digits')
    from tools.analysis.demo_picture import draw
    from tools.harness.benchmark_command import Benchmark
    from tools.harness.console import console
    from tools.harness.crew import Crew

    args = parse_args(argv)
    os.chdir(ROOT)
    out, start = Path(args.out), time.monotonic()
    say(f"Exporting scikit-learn's digits as images to {args.data_root}/")
    with console(out / 'export'):
        export_digits(args.data_root, args.seeds)
    suite, settings = plan(args)
    forget(out, suite, args.seeds)
    with Crew(args.workers) as crew:
        say(f'Pretraining a ViT on digits 0-4 in four rotations ({EPOCHS} epochs)')
        pretrain(crew, args)
        say(f'Tuning it on digits 5-9: {len(suite.methods)} methods')
        benchmark = Benchmark(suite, settings, crew, predictions=args.seeds[:1])
        failures = benchmark.run()
    if failures:
        raise RuntimeError('\n'.join(failures))
    results = {
        (final.cell.method, seed): result(record)
        for final in benchmark.finals
        for seed, record in final.records.items()
    }
    table = report(results, suite.methods, args.seeds)
    (out / 'results.md').write_text(table)
    folders = {cell.method: str(out / cell.folder) for cell in suite.cells.values()}
    draw(results, suite.methods, REFERENCE, args.seeds[0], out / 'results.png', folders)
    print('\n' + table)
    print(
        f'Done in {time.monotonic() - start:.0f} s. Look at {out}/results.png; '
        f'{out}/ has the table, a record of every run, and a folder with its logs, '
        'config and checkpoint.'
    )


def plan(args: argparse.Namespace):
    """Return the suite, its files where the command line says, and the settings."""
    from mmvpt.protocol import get_protocol
    from tools.harness.session import Settings
    from tools.harness.suites import load_suite

    suite = load_suite(SUITE, ['all'], None)
    cells = {}
    for key, cell in suite.cells.items():
        text = json.dumps(cell.options).replace('work_dirs/demo/', f'{args.out}/')
        text = text.replace('data/digits', f'{args.data_root}/digits')
        cells[key] = replace(cell, options=json.loads(text))
    settings = Settings(get_protocol(suite.protocol), Path(args.out), tuple(args.seeds))
    return replace(suite, cells=cells), settings


def forget(out: Path, suite, seeds: Sequence[int]) -> None:
    """Remove an earlier demo: it is to be seen running, not to be kept."""
    shutil.rmtree(out / 'records', ignore_errors=True)
    for cell in suite.cells.values():
        for seed in seeds:
            shutil.rmtree(out / cell.folder / f'seed{seed}', ignore_errors=True)


def data_options(folder: str) -> dict[str, str]:
    """Point all three dataloaders to a folder."""
    stages = ('train', 'val', 'test')
    return {f'{stage}_dataloader.dataset.data_root': folder for stage in stages}


def pretrain(crew, args: argparse.Namespace) -> None:
    """Train the source model, and show its epochs on a terminal.

    Raises:
        RuntimeError: If it failed.
    """
    from tools.harness.crew import Job

    work_dir = f'{args.out}/pretrain'
    options = data_options(f'{args.data_root}/digits-source')
    log = Path(work_dir) / 'console.log'
    log.unlink(missing_ok=True)
    spec = dict(config=PRETRAIN, options=options, work_dir=work_dir)
    crew.submit(Job('tools.harness.pretraining:pretrain', spec))
    shown, events = -1, []
    while not events:
        events = crew.wait(0.5)
        done = log.read_text().count('Saving checkpoint at') if log.exists() else 0
        if done != shown and sys.stdout.isatty():
            print(f'\r    epoch {done} of {EPOCHS}', end='', flush=True)
            shown = done
    if events[0].outcome != 'done':
        raise RuntimeError(f'pretraining failed: {events[0].result}')
    print(f'\r    source task, validation: {events[0].result["accuracy/top1"]:.1f} %')


def result(record: dict) -> Result:
    """Take what the table shows from a record."""
    val, test = (record['metrics'][s][record['metric']] for s in ('val', 'test'))
    seconds = record['measured']['seconds']
    return Result(record['tuned_parameters'], seconds, val, test)


def report(results: Results, methods: Sequence[str], seeds: Sequence[int]) -> str:
    """Return the table: one row for each method, mean ± spread over the seeds."""
    from tools.harness.tables import markdown, spread

    rows = [
        ('method', 'tuned parameters', 's', 'val top-1 %', 'test top-1 %', 'vs probe')
    ]
    for method in methods:
        mine = [results[method, seed] for seed in seeds]
        gain = sum(results[method, s].test - results[REFERENCE, s].test for s in seeds)
        rows.append(
            (
                method,
                f'{mine[0].tuned:,}',
                f'{sum(r.seconds for r in mine) / len(mine):.0f}',
                spread([r.val for r in mine]),
                spread([r.test for r in mine]),
                '' if method == REFERENCE else f'{gain / len(seeds):+.1f}',
            )
        )
    return (
        f'{markdown(rows)}\n'
        'Digits 5-9, 40 training and 15 validation images per class, 621 test images; '
        f'mean ± standard deviation over {len(seeds)} draws of the training images. '
        'Tuned parameters include the head. Seconds: one run on one core.\n'
    )


if __name__ == '__main__':
    run_program(main)
