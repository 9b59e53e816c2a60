#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Segment scenes of handwritten digits with a small frozen ViT, and compare methods.

Composes scenes with pixel labels of scikit-learn's digits, in ADE20K's folder layout;
pretrains a ViT on scenes of the digits 0-4, freezes it, and tunes it on scenes of the
digits 5-9 as the benchmark runner does, with the configs named in
configs/suites/demo_seg.py. Writes records, a table and pictures of image, ground
truth and predictions side by side.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmvpt.bench.programs import run_program, say  # noqa: E402
from mmvpt.bench.quiet import quiet  # noqa: E402

OUT = 'work_dirs/demo-seg'
PRETRAIN = 'configs/baselines/pretrain_linear-vit-digits_digit-scenes-source.py'
SUITE = 'demo_seg'
#: The row that others are compared with.
REFERENCE = 'UperNet'


def main(argv: Sequence[str] | None = None) -> None:
    """Run the demo.

    Args:
        argv: Arguments; those of the process by default.

    Raises:
        RuntimeError: If a run failed.
    """
    # Not at the top: worker processes import this file, and need nothing of it.
    with quiet():
        from mmvpt.bench import demo as demonstration
        from mmvpt.bench.console import console
        from mmvpt.bench.pool import Crew
        from mmvpt.datasets import export_digit_scenes

    args = demonstration.parse_args(argv, __doc__, OUT, seeds=(0, 1))
    os.chdir(ROOT)
    out, start = Path(args.out), time.monotonic()
    say(f"Composing scenes of scikit-learn's digits in {args.data_root}/")
    with console(out / 'export'):
        export_digit_scenes(args.data_root, args.seeds)
    suite, settings = demonstration.plan(SUITE, OUT, args)
    with Crew(args.workers) as crew:
        say('Pretraining a ViT on scenes of the digits 0-4')
        source = f'{args.data_root}/digit-scenes-source'
        metrics = demonstration.pretrain(crew, PRETRAIN, source, f'{out}/pretrain')
        print(f'    source task, validation: {metrics["mIoU"]:.1f} % mIoU')
        say(f'Tuning it on digits 5-9: {len(suite.methods)} methods')
        results = demonstration.tune(crew, suite, settings)
    table = demonstration.report(
        results, suite.methods, args.seeds, 'mIoU', REFERENCE, f'vs {REFERENCE}'
    )
    text = (
        f'{table}\n'
        'Scenes of the digits 5-9, 160 to train, 60 to validate, 150 to test, of '
        f'different scans; mean ± standard deviation over {len(args.seeds)} draws of '
        'scans and scenes. All but the linear head have UperNet; in the first two rows '
        'the ViT is frozen and has no prompts. Tuned parameters include the head. '
        'Seconds: one run on one core.\n'
    )
    (out / 'results.md').write_text(text)
    folders = demonstration.folders(suite, settings, args.seeds[0])
    picture(
        results,
        folders,
        f'{args.data_root}/digit-scenes-seed{args.seeds[0]}',
        next(iter(suite.cells.values())).config,
        args.seeds[0],
        out / 'results.png',
    )
    print('\n' + text)
    print(
        f'Done in {time.monotonic() - start:.0f} s. Look at {out}/results.png; '
        f'{out}/ has the table, a record of every run, and a folder with its logs, '
        'config, checkpoint and label maps.'
    )


def picture(
    results: Mapping[tuple[str, int], Any],
    folders: Mapping[str, Path],
    data: str,
    config: str,
    seed: int,
    path: Path,
) -> None:
    """Draw scenes of a seed with the prediction of every method.

    Args:
        results: By method and seed, with ``test``.
        folders: Of the runs, by method, with their label maps in ``predictions``.
        data: The scenes.
        config: A config of one of the methods, for classes and colours.
        seed: The seed.
        path: The picture.
    """
    from mmengine.config import Config

    from mmvpt.analysis.pictures.demo_seg import Scenes, draw

    draw(
        Scenes(Config.fromfile(config).test_dataloader.dataset, data),
        {method: str(folder / 'predictions') for method, folder in folders.items()},
        path,
        titles={m: f'mIoU {results[m, seed].test:.1f} %' for m in folders},
    )


if __name__ == '__main__':
    run_program(main)
