# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What the demos share: pretrain a small ViT on a source task, tune it on another.

The tuning is that of the benchmark runner, with the suite of the demo.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import get_protocol
from .benchmark import Benchmark
from .pool import Crew, Job
from .study import Settings, run_folder
from .suites import Suite, load_suite
from .tables import markdown, spread

#: Where the configs and suites of the demos expect their images.
DATA = 'data'
_PLACE = re.compile(r'(Epoch|Iter)\(train\)\s+\[\s*(\d+)')


@dataclass(frozen=True)
class Result:
    """What a run gave."""

    tuned: int  # parameters that train
    seconds: float  # of training and validation
    val: float  # the figure on the validation images, in %
    test: float  # the figure on the test images, in %


Results = Mapping[tuple[str, int], Result]  # by method and seed


def parse_args(
    argv: Sequence[str] | None, description: str | None, out: str, seeds: Sequence[int]
) -> argparse.Namespace:
    """Parse the command line of a demo.

    Args:
        argv: Arguments; those of the process by default.
        description: What the demo does.
        out: Where results go unless the command line says.
        seeds: The draws of the target task unless the command line says.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('--out', default=out, help='where results go')
    parser.add_argument('--data-root', default=DATA, help='where images go')
    parser.add_argument('--seeds', type=int, nargs='+', default=list(seeds))
    parser.add_argument('--workers', type=int, default=min(2, os.cpu_count() or 1))
    return parser.parse_args(argv)


def plan(name: str, out: str, args: argparse.Namespace) -> tuple[Suite, Settings]:
    """Return the suite, its files where the command line says, and the settings.

    Args:
        name: The suite.
        out: Where the suite expects the pretrained weights.
        args: The command line.
    """
    suite = load_suite(name, ['all'], None)
    moves = {f'{out}/': f'{args.out}/', f'{DATA}/': f'{args.data_root}/'}
    cells = {
        key: replace(cell, options=moved(cell.options, moves))
        for key, cell in suite.cells.items()
    }
    settings = Settings(get_protocol(suite.protocol), Path(args.out), tuple(args.seeds))
    return replace(suite, cells=cells), settings


def moved(options: Mapping[str, Any], moves: Mapping[str, str]) -> dict[str, Any]:
    """Return options with the beginnings of paths replaced.

    Args:
        options: Options of a config.
        moves: Old beginning -> new one; the first that fits counts.
    """

    def move(value: Any) -> Any:
        for old, new in moves.items():
            if isinstance(value, str) and value.startswith(old):
                return new + value[len(old) :]
        return value

    return {name: move(value) for name, value in options.items()}


def data_options(folder: str) -> dict[str, str]:
    """Point all three dataloaders to a folder."""
    stages = ('train', 'val', 'test')
    return {f'{stage}_dataloader.dataset.data_root': folder for stage in stages}


def pretrain(crew: Crew, config: str, data: str, work_dir: str) -> dict[str, float]:
    """Train the source model, and show where it is on a terminal.

    Args:
        crew: One of its workers trains.
        config: Config of the source task.
        data: Its images.
        work_dir: Where it goes.

    Returns:
        The validation metrics.

    Raises:
        RuntimeError: If it failed.
    """
    log = Path(work_dir) / 'console.log'
    log.unlink(missing_ok=True)
    spec = dict(config=config, options=data_options(data), work_dir=work_dir)
    crew.submit(Job('mmvpt.bench.pretraining:pretrain', spec))
    shown, events = None, []
    while not events:
        events = crew.wait(0.5)
        places = _PLACE.findall(log.read_text()) if log.exists() else []
        if places and places[-1] != shown and sys.stdout.isatty():
            unit, number = shown = places[-1]
            unit = {'Epoch': 'epoch', 'Iter': 'iteration'}[unit]
            print(f'\r    {unit} {number}', end='', flush=True)
    print('\r', end='')
    if events[0].outcome != 'done':
        raise RuntimeError(f'pretraining failed: {events[0].result}')
    return events[0].result


def tune(crew: Crew, suite: Suite, settings: Settings) -> dict[tuple[str, int], Result]:
    """Train and test every method with every seed, and return the results.

    What an earlier demo left is removed first: it is to be seen running. The test
    predictions of the first seed are kept.

    Args:
        crew: The workers.
        suite: What is compared.
        settings: The session.

    Raises:
        RuntimeError: If a run failed.
    """
    forget(suite, settings)
    benchmark = Benchmark(suite, settings, crew, predictions=settings.seeds[:1])
    failures = benchmark.run()
    if failures:
        raise RuntimeError('\n'.join(failures))
    return {
        (final.cell.method, seed): result(record)
        for final in benchmark.finals
        for seed, record in final.records.items()
    }


def forget(suite: Suite, settings: Settings) -> None:
    """Remove the records and runs of an earlier demo."""
    shutil.rmtree(settings.out / 'records', ignore_errors=True)
    for cell in suite.cells.values():
        for seed in settings.seeds:
            shutil.rmtree(run_folder(settings, cell, seed), ignore_errors=True)


def folders(suite: Suite, settings: Settings, seed: int) -> dict[str, Path]:
    """Return the folder of each method's run with a seed."""
    return {
        cell.method: run_folder(settings, cell, seed) for cell in suite.cells.values()
    }


def result(record: Mapping[str, Any]) -> Result:
    """Take what the table shows from a record."""
    val, test = (record['metrics'][s][record['metric']] for s in ('val', 'test'))
    seconds = record['measured']['seconds']
    return Result(record['tuned_parameters'], seconds, val, test)


def report(
    results: Results,
    methods: Sequence[str],
    seeds: Sequence[int],
    figure: str,
    reference: str,
    versus: str,
) -> str:
    """Return the table: one row for each method, mean ± spread over the seeds.

    Args:
        results: By method and seed.
        methods: Methods from top to bottom.
        seeds: The seeds.
        figure: What is measured.
        reference: The method that others are compared with.
        versus: Head of the column that compares.
    """
    rows = [
        (
            *('method', 'tuned parameters', 's'),
            *(f'val {figure} %', f'test {figure} %', versus),
        )
    ]
    for method in methods:
        mine = [results[method, seed] for seed in seeds]
        gain = sum(results[method, s].test - results[reference, s].test for s in seeds)
        rows.append(
            (
                method,
                f'{mine[0].tuned:,}',
                f'{sum(r.seconds for r in mine) / len(mine):.0f}',
                spread([r.val for r in mine]),
                spread([r.test for r in mine]),
                '' if method == reference else f'{gain / len(seeds):+.1f}',
            )
        )
    return markdown(rows)
