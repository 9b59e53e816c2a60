#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Tune a small frozen ViT on real handwritten digits, with every method, and compare.

Exports scikit-learn's digits, pretrains a ViT on digits 0-4 in four rotations, then
tunes it on upright digits 5-9 through tools/train.py with the configs named in METHODS
and tests it through tools/test.py. Writes a table and a picture.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import Future
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools import runs  # noqa: E402

PRETRAIN = 'configs/baselines/pretrain_vit-digits_digits-source.py'
EPOCHS = 15  # of PRETRAIN
#: Rows of the table: name and config (configs/..._vit-digits_digits.py).
METHODS = {
    'linear probe, converged': 'baselines/linear-converged',
    'VPT-shallow': 'vpt/vpt-shallow',
    'VPT-deep': 'vpt/vpt-deep',
    'Gated Prompt Tuning': 'gatedvpt/gatedvpt',
    'VAPT': 'vapt/vapt',
    'DA-VPT': 'davpt/davpt',
    'DA-VPT+': 'davpt/davpt-plus',
    'full fine-tuning': 'baselines/full',
}
#: The row that others are compared with.
REFERENCE = 'linear probe, converged'

Results = dict[tuple[str, int], runs.Result]  # by method and seed


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default='work_dirs/demo', help='where results go')
    parser.add_argument('--data-root', default='data', help='where images go')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--workers', type=int, default=min(2, os.cpu_count() or 1))
    args = parser.parse_args()
    os.chdir(ROOT)
    out, start = Path(args.out), time.monotonic()
    out.mkdir(parents=True, exist_ok=True)

    say(f"Exporting scikit-learn's digits as images to {args.data_root}/")
    with runs.console(out / 'export'):
        from mmvpt.datasets import export_digits

        export_digits(args.data_root, args.seeds)
    with runs.pool(args.workers) as pool:
        say(f'Pretraining a ViT on digits 0-4 in four rotations ({EPOCHS} epochs)')
        watch(pool.submit(runs.execute, pretraining(args)), out / 'pretrain')
        say(f'Tuning it on digits 5-9: {len(METHODS)} methods, seeds {args.seeds}')
        jobs = [(method, seed) for seed in args.seeds for method in METHODS]
        futures = {pool.submit(runs.execute, tuning(args, *job)): job for job in jobs}
        results = dict(runs.collect(futures))
    table = report(results, args.seeds)
    (out / 'results.md').write_text(table)
    from tools.analysis.demo_picture import draw

    draw(results, list(METHODS), REFERENCE, out / 'results.png', folders(args))
    print('\n' + table)
    print(
        f'Done in {time.monotonic() - start:.0f} s. Look at {out}/results.png; '
        f'{out}/ has the table and a folder of logs, config and checkpoint per run.'
    )


def data_options(folder: str) -> dict[str, str]:
    """Point all three dataloaders to a folder."""
    stages = ('train', 'val', 'test')
    return {f'{stage}_dataloader.dataset.data_root': folder for stage in stages}


def pretraining(args: argparse.Namespace) -> runs.Run:
    """Return the run that pretrains the ViT."""
    options = data_options(f'{args.data_root}/digits-source')
    return runs.Run(PRETRAIN, f'{args.out}/pretrain', options, test=False)


def tuning(args: argparse.Namespace, method: str, seed: int) -> runs.Run:
    """Return the run of one method; the seed draws the images and seeds the run."""
    options = {
        **data_options(f'{args.data_root}/digits-target-seed{seed}'),
        'model.backbone.init_cfg.checkpoint': f'{args.out}/pretrain/epoch_{EPOCHS}.pth',
        'randomness.seed': seed,
        'default_hooks.checkpoint.interval': 30,
    }
    return runs.Run(
        config=f'configs/{METHODS[method]}_vit-digits_digits.py',
        work_dir=f'{folders(args)[method]}/seed{seed}',
        options=options,
        predictions=seed == args.seeds[0],
    )


def folders(args: argparse.Namespace) -> dict[str, str]:
    """Return the folder of each method."""
    return {m: f'{args.out}/{config.split("/")[1]}' for m, config in METHODS.items()}


def watch(future: Future, work_dir: Path) -> None:
    """Show the epochs of the pretraining until it ends."""
    shown = -1
    while not future.done():
        time.sleep(0.5)
        log = work_dir / 'console.log'
        done = log.read_text().count('Saving checkpoint at') if log.exists() else 0
        if done != shown and sys.stdout.isatty():
            print(f'\r    epoch {done} of {EPOCHS}', end='', flush=True)
            shown = done
    print(f'\r    source task, validation: {future.result().val:.1f} %')


def report(results: Results, seeds: list[int]) -> str:
    """Return the table: one row for each method, mean ± spread over the seeds."""
    rows = [
        ('method', 'tuned parameters', 's', 'val top-1 %', 'test top-1 %', 'vs probe')
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
        'Digits 5-9, 40 training and 15 validation images per class, 621 test images; '
        f'mean ± standard deviation over {len(seeds)} draws of the training images. '
        'Tuned parameters include the head. Seconds: one run on one core.\n'
    )


def say(text: str) -> None:
    """Print a step."""
    print(f'==> {text}', flush=True)


if __name__ == '__main__':
    main()
