# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The demos: pretrain a small ViT on a source task, tune it on another, compare.

The tuning is that of the benchmark runner, with the suite of the demo.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config
from rich.console import Console

from mmvpt.analysis.pictures import demo as digits_picture
from mmvpt.analysis.pictures import demo_seg as scenes_picture
from mmvpt.datasets import export_digit_scenes, export_digits
from mmvpt.display import markdown, print_markdown
from mmvpt.errors import UserError
from mmvpt.files import ROOT

from . import get_protocol
from .benchmark import Benchmark
from .console import console, say
from .pool import Job, Pool
from .settings import Settings, run_folder
from .suites import Suite, load_suite
from .tables import spread

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


@dataclass(frozen=True)
class Demo:
    """What is compared on which images."""

    suite: str
    out: str  # where the suite expects the pretrained weights
    pretrain: str  # config of the source task
    source: str  # folder of its images
    metric: str
    figure: str  # what tables call it
    reference: str  # the method that others are compared with
    versus: str  # head of the column that compares
    seeds: tuple[int, ...]  # draws of the target task
    export: Callable[..., list[Path]]  # of a folder and draws
    draw: Callable[..., None]
    titles: tuple[str, str]  # of exporting and pretraining
    caption: str  # what the target task is


def run(
    demo: Demo,
    out: str | None = None,
    data_root: str = 'data',
    seeds: Sequence[int] | None = None,
    workers: int = 2,
) -> None:
    """Run a demo; write records, a table and a picture.

    Args:
        demo: Which.
        out: Where results go [work_dirs/demo, of scenes work_dirs/demo-seg].
        data_root: Where images go.
        seeds: The draws of the target task [0 1 2, of scenes 0 1].
        workers: Number of processes.

    Raises:
        UserError: If a run failed.
    """
    os.chdir(ROOT)
    out, start = str(out or demo.out), time.monotonic()
    seeds = tuple(seeds or demo.seeds)
    say(f'{demo.titles[0]} {data_root}/')
    with console(Path(out) / 'export'):
        demo.export(data_root, seeds)
    suite, settings = plan(demo, out, data_root, seeds)
    with Pool(workers) as pool:
        say(demo.titles[1])
        source = f'{data_root}/{demo.source}'
        metrics = pretrain(pool, demo.pretrain, source, f'{out}/pretrain')
        print(f'    source task, validation: {metrics[demo.metric]:.1f} %')
        say(f'Tuning it on digits 5-9: {len(suite.methods)} methods')
        results = tune(pool, suite, settings)
    text = f'{table(demo, results, suite.methods, seeds)}\n{demo.caption}'
    text = text.replace('{draws}', str(len(seeds)))
    (settings.out / 'results.md').write_text(text)
    picture = settings.out / 'results.png'
    demo.draw(demo, results, suite, settings, data_root, picture)
    print()
    print_markdown(text)
    print(
        f'Done in {time.monotonic() - start:.0f} s. Look at {picture}; {out}/ has the '
        'table, a record of every run, and a folder with its logs, config and '
        'checkpoint.'
    )


def plan(
    demo: Demo, out: str, data_root: str, seeds: Sequence[int]
) -> tuple[Suite, Settings]:
    """Return the suite, its files where the command line says, and the settings."""
    suite = load_suite(demo.suite, ['all'], None)
    moves = {f'{demo.out}/': f'{out}/', f'{DATA}/': f'{data_root}/'}
    cells = {
        key: replace(cell, options=moved(cell.options, moves))
        for key, cell in suite.cells.items()
    }
    settings = Settings(get_protocol(suite.protocol), Path(out), tuple(seeds))
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


def pretrain(pool: Pool, config: str, data: str, work_dir: str) -> dict[str, float]:
    """Train the source model, and show where it is on a terminal.

    Returns:
        The validation metrics.

    Raises:
        UserError: If it failed.
    """
    log = Path(work_dir) / 'console.log'
    log.unlink(missing_ok=True)
    spec = dict(config=config, options=data_options(data), work_dir=work_dir)
    pool.submit(Job('mmvpt.bench.finals:pretrain', spec))
    ends: list = []
    with Console().status('starting') as status:
        while not ends:
            ends = list(pool.wait(0.5))
            for unit, number in _PLACE.findall(log.read_text() if log.exists() else ''):
                status.update(f'{dict(Epoch="epoch", Iter="iteration")[unit]} {number}')
    _, outcome, result = ends[0]
    if outcome != 'done':
        raise UserError(f'pretraining failed: {result}')
    return result


def tune(pool: Pool, suite: Suite, settings: Settings) -> dict[tuple[str, int], Result]:
    """Train and test every method with every seed, and return the results.

    What an earlier demo left is removed first: it is to be seen running. The test
    predictions of the first seed are kept.

    Raises:
        UserError: If a run failed.
    """
    forget(suite, settings)
    benchmark = Benchmark(suite, settings, pool, predictions=settings.seeds[:1])
    failures = benchmark.run()
    if failures:
        raise UserError('\n'.join(failures))
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


def folders(suite: Suite, settings: Settings) -> dict[str, Path]:
    """Return the folder of each method's run with the first seed."""
    seed = settings.seeds[0]
    return {c.method: run_folder(settings, c, seed) for c in suite.cells.values()}


def result(record: Mapping[str, Any]) -> Result:
    """Take what the table shows from a record."""
    val, test = (record['metrics'][s][record['metric']] for s in ('val', 'test'))
    seconds = record['measured']['seconds']
    return Result(record['tuned_parameters'], seconds, val, test)


def table(
    demo: Demo, results: Results, methods: Sequence[str], seeds: Sequence[int]
) -> str:
    """Return the table: one row for each method, mean ± spread over the seeds."""
    figures = (f'val {demo.figure} %', f'test {demo.figure} %')
    rows = [('method', 'tuned parameters', 's', *figures, demo.versus)]
    for method in methods:
        mine = [results[method, seed] for seed in seeds]
        gains = [
            results[method, s].test - results[demo.reference, s].test for s in seeds
        ]
        rows.append(
            (
                method,
                f'{mine[0].tuned:,}',
                f'{statistics.fmean(r.seconds for r in mine):.0f}',
                spread([r.val for r in mine]),
                spread([r.test for r in mine]),
                '' if method == demo.reference else f'{statistics.fmean(gains):+.1f}',
            )
        )
    return markdown(rows)


def _draw_digits(
    demo: Demo, results: Results, suite: Suite, settings: Settings, _: str, path: Path
) -> None:
    runs = folders(suite, settings)
    about = suite.methods, demo.reference, settings.seeds[0]
    digits_picture.draw(results, *about, path, runs)


def _draw_scenes(
    demo: Demo,
    results: Results,
    suite: Suite,
    settings: Settings,
    data: str,
    path: Path,
) -> None:
    seed = settings.seeds[0]
    config = Config.fromfile(next(iter(suite.cells.values())).config)
    dataset = config.test_dataloader.dataset
    runs = folders(suite, settings)
    scenes_picture.draw(
        scenes_picture.Scenes(dataset, f'{data}/digit-scenes-seed{seed}'),
        {method: str(folder / 'predictions') for method, folder in runs.items()},
        path,
        titles={method: f'mIoU {results[method, seed].test:.1f} %' for method in runs},
    )


DIGITS = Demo(
    suite='demo',
    out='work_dirs/demo',
    pretrain='configs/baselines/pretrain_vit-digits_digits-source.py',
    source='digits-source',
    metric='accuracy/top1',
    figure='top-1',
    reference='linear probe, converged',
    versus='vs probe',
    seeds=(0, 1, 2),
    export=export_digits,
    draw=_draw_digits,
    titles=(
        "Exporting scikit-learn's digits as images to",
        'Pretraining a ViT on digits 0-4 in four rotations',
    ),
    caption='Digits 5-9, 40 training and 15 validation images per class, 621 test '
    'images; mean ± standard deviation over {draws} draws of the training images. '
    'Tuned parameters include the head. Seconds: one run on one core.\n',
)
DIGIT_SCENES = Demo(
    suite='demo_seg',
    out='work_dirs/demo-seg',
    pretrain='configs/baselines/pretrain_linear-vit-digits_digit-scenes-source.py',
    source='digit-scenes-source',
    metric='mIoU',
    figure='mIoU',
    reference='UperNet',
    versus='vs UperNet',
    seeds=(0, 1),
    export=export_digit_scenes,
    draw=_draw_scenes,
    titles=(
        "Composing scenes of scikit-learn's digits in",
        'Pretraining a ViT on scenes of the digits 0-4',
    ),
    caption='Scenes of the digits 5-9, 160 to train, 60 to validate, 150 to test, of '
    'different scans; mean ± standard deviation over {draws} draws of scans and '
    'scenes. All but the linear head have UperNet; in the first two rows the ViT is '
    'frozen and has no prompts. Tuned parameters include the head. Seconds: one run '
    'on one core.\n',
)
