#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Tune a small frozen ViT on real handwritten digits, with every method, and compare.

Exports scikit-learn's digits, pretrains a ViT on digits 0-4 in four rotations, then
tunes it on upright digits 5-9 as the benchmark runner does, with the configs named in
configs/suites/demo.py. Writes records, a table and a picture.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmvpt.bench.programs import run_program, say  # noqa: E402
from mmvpt.bench.quiet import quiet  # noqa: E402

OUT = 'work_dirs/demo'
PRETRAIN = 'configs/baselines/pretrain_vit-digits_digits-source.py'
SUITE = 'demo'
#: The row that others are compared with.
REFERENCE = 'linear probe, converged'


def main(argv: Sequence[str] | None = None) -> None:
    """Run the demo.

    Args:
        argv: Arguments; those of the process by default.

    Raises:
        RuntimeError: If a run failed.
    """
    # Not at the top: worker processes import this file, and need nothing of it.
    with quiet():
        from mmvpt.analysis.pictures.demo import draw
        from mmvpt.bench import demo as demonstration
        from mmvpt.bench.console import console
        from mmvpt.bench.pool import Crew
        from mmvpt.datasets import export_digits

    args = demonstration.parse_args(argv, __doc__, OUT, seeds=(0, 1, 2))
    os.chdir(ROOT)
    out, start = Path(args.out), time.monotonic()
    say(f"Exporting scikit-learn's digits as images to {args.data_root}/")
    with console(out / 'export'):
        export_digits(args.data_root, args.seeds)
    suite, settings = demonstration.plan(SUITE, OUT, args)
    with Crew(args.workers) as crew:
        say('Pretraining a ViT on digits 0-4 in four rotations')
        source = f'{args.data_root}/digits-source'
        metrics = demonstration.pretrain(crew, PRETRAIN, source, f'{out}/pretrain')
        print(f'    source task, validation: {metrics["accuracy/top1"]:.1f} %')
        say(f'Tuning it on digits 5-9: {len(suite.methods)} methods')
        results = demonstration.tune(crew, suite, settings)
    table = demonstration.report(
        results, suite.methods, args.seeds, 'top-1', REFERENCE, 'vs probe'
    )
    text = (
        f'{table}\n'
        'Digits 5-9, 40 training and 15 validation images per class, 621 test images; '
        f'mean ± standard deviation over {len(args.seeds)} draws of the training '
        'images. Tuned parameters include the head. Seconds: one run on one core.\n'
    )
    (out / 'results.md').write_text(text)
    seed = args.seeds[0]
    folders = demonstration.folders(suite, settings, seed)
    draw(results, suite.methods, REFERENCE, seed, out / 'results.png', folders)
    print('\n' + text)
    print(
        f'Done in {time.monotonic() - start:.0f} s. Look at {out}/results.png; '
        f'{out}/ has the table, a record of every run, and a folder with its logs, '
        'config and checkpoint.'
    )


if __name__ == '__main__':
    run_program(main)
