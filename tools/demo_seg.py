#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Segment scenes of handwritten digits with a small frozen ViT, and compare methods.

Composes scenes with pixel labels of scikit-learn's digits, in ADE20K's folder layout;
pretrains a ViT on scenes of the digits 0-4, freezes it, and tunes it with the configs
named in METHODS on scenes of the digits 5-9, through tools/train.py and tools/test.py.
Writes a table and pictures of image, ground truth and predictions side by side.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools import runs  # noqa: E402
from tools.demo import data_options  # noqa: E402
from tools.harness.programs import say  # noqa: E402

PRETRAIN = 'configs/baselines/pretrain_linear-vit-digits_digit-scenes-source.py'
#: Rows of the table: name and config (configs/...-vit-digits_digit-scenes.py).
METHODS = {
    'linear head': 'baselines/probe_linear',
    'UperNet': 'baselines/frozen_upernet',
    'VPT-deep': 'vpt/vpt-deep_upernet',
    'DA-VPT+': 'davpt/davpt-plus_upernet',
    'full fine-tuning': 'baselines/full_upernet',
}
#: The row that others are compared with.
REFERENCE = 'UperNet'

Results = dict[tuple[str, int], runs.Result]  # by method and seed


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default='work_dirs/demo-seg', help='where results go')
    parser.add_argument('--data-root', default='data', help='where scenes go')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    parser.add_argument('--workers', type=int, default=min(2, os.cpu_count() or 1))
    args = parser.parse_args()
    os.chdir(ROOT)
    out, start = Path(args.out), time.monotonic()
    out.mkdir(parents=True, exist_ok=True)

    say(f"Composing scenes of scikit-learn's digits in {args.data_root}/")
    with runs.console(out / 'export'):
        from mmvpt.datasets import export_digit_scenes

        export_digit_scenes(args.data_root, args.seeds)
    with runs.pool(args.workers) as pool:
        say('Pretraining a ViT on scenes of the digits 0-4')
        source = pool.submit(runs.execute, pretraining(args)).result()
        print(f'    source task, validation: {source.val:.1f} % mIoU')
        say(f'Tuning it on digits 5-9: {len(METHODS)} methods, seeds {args.seeds}')
        jobs = [(method, seed) for seed in args.seeds for method in METHODS]
        futures = {pool.submit(runs.execute, tuning(args, *job)): job for job in jobs}
        results = dict(runs.collect(futures))
    table = report(results, args.seeds)
    (out / 'results.md').write_text(table)
    picture(results, args)
    print('\n' + table)
    print(
        f'Done in {time.monotonic() - start:.0f} s. Look at {out}/results.png; '
        f'{out}/ has the table and a folder of logs, config, checkpoint and label maps '
        'per run.'
    )


def pretraining(args: argparse.Namespace) -> runs.Run:
    """Return the run that pretrains the ViT."""
    options = data_options(f'{args.data_root}/digit-scenes-source')
    return runs.Run(PRETRAIN, f'{args.out}/pretrain', options, test=False)


def tuning(args: argparse.Namespace, method: str, seed: int) -> runs.Run:
    """Return the run of one method; the seed draws the scenes and seeds the run."""
    pretrained = Path(args.out) / 'pretrain/last_checkpoint'
    options = {
        **data_options(f'{args.data_root}/digit-scenes-seed{seed}'),
        'model.backbone.init_cfg.checkpoint': pretrained.read_text().strip(),
        'randomness.seed': seed,
    }
    return runs.Run(
        config=f'configs/{METHODS[method]}-vit-digits_digit-scenes.py',
        work_dir=f'{folder(args, method)}/seed{seed}',
        options=options,
        predictions=seed == args.seeds[0],
    )


def folder(args: argparse.Namespace, method: str) -> str:
    """Return the folder of a method."""
    return f'{args.out}/{METHODS[method].split("/")[1]}'


def report(results: Results, seeds: list[int]) -> str:
    """Return the table: one row for each method, mean ± spread over the seeds."""
    rows = [
        ('method', 'tuned parameters', 's', 'val mIoU %', 'test mIoU %', 'vs UperNet')
    ]
    for method in METHODS:
        mine = [results[method, seed] for seed in seeds]
        gain = sum(results[method, s].test - results[REFERENCE, s].test for s in seeds)
        rows.append(
            (
                method,
                f'{mine[0].tuned:,}',
                f'{sum(r.seconds for r in mine) / len(mine):.0f}',
                runs.mean_and_spread([r.val for r in mine]),
                runs.mean_and_spread([r.test for r in mine]),
                '' if method == REFERENCE else f'{gain / len(seeds):+.1f}',
            )
        )
    return (
        f'{runs.markdown(rows)}\n'
        'Scenes of the digits 5-9, 160 to train, 60 to validate, 150 to test, of '
        f'different scans; mean ± standard deviation over {len(seeds)} draws of scans '
        'and scenes. All but the linear head have UperNet; in the first two rows the '
        'ViT is frozen and has no prompts. Tuned parameters include the head. Seconds: '
        'one run on one core.\n'
    )


def picture(results: Results, args: argparse.Namespace) -> None:
    """Draw scenes of the first seed with the prediction of every method."""
    from mmengine.config import Config

    from tools.analysis.seg_picture import Scenes, draw

    seed = args.seeds[0]
    config = Config.fromfile(tuning(args, REFERENCE, seed).config)
    scenes = Scenes(
        config.test_dataloader.dataset, f'{args.data_root}/digit-scenes-seed{seed}'
    )
    draw(
        scenes,
        {
            method: f'{folder(args, method)}/seed{seed}/predictions'
            for method in METHODS
        },
        Path(args.out) / 'results.png',
        titles={m: f'mIoU {results[m, seed].test:.1f} %' for m in METHODS},
    )


if __name__ == '__main__':
    main()
