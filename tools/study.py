#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Compare methods fairly: an equal search on validation data each, then several seeds.

For each method every point of its grid is trained once and the best on the validation
split is taken (ties: the first). With it the method is trained with every seed and
tested once per seed, at the end; with ``test = False`` in the space it is not. Finished
runs are kept: the command can be repeated.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmengine.config import Config  # noqa: E402

from tools import runs  # noqa: E402


def main(argv: Sequence[str] | None = None) -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('space', help='methods and grids, e.g. configs/_base_/search/*')
    parser.add_argument('--out', help='folder of results [work_dirs/study/<space>]')
    parser.add_argument('--methods', nargs='+', help='only these')
    parser.add_argument('--workers', type=int, default=min(2, os.cpu_count() or 1))
    args = parser.parse_args(argv)
    os.chdir(ROOT)
    space = Config.fromfile(args.space)
    unknown = set(args.methods or ()) - set(space.methods)
    if unknown:
        parser.error(f'{args.space} has {list(space.methods)}, not {sorted(unknown)}')
    methods = {
        name: method
        for name, method in space.methods.items()
        if not args.methods or name in args.methods
    }
    out = Path(args.out or f'work_dirs/study/{Path(args.space).stem}')
    with runs.pool(args.workers) as pool:
        best = search(pool, methods, out)
        jobs = itertools.product(methods, space.seeds)
        futures = {}
        for name, seed in jobs:
            run = runs.Run(
                methods[name].config,
                f'{out}/{name}/seed{seed}',
                {**best[name], 'randomness.seed': seed},
                test=space.get('test', True),
                predictions=space.get('predictions', False),
            )
            futures[pool.submit(runs.execute, run, keep=True)] = (name, f'seed {seed}')
        results = dict(runs.collect(futures))
    table = report(methods, best, results)
    (out / 'results.md').write_text(table)
    print('\n' + table)


def search(pool, methods: dict, out: Path) -> dict[str, dict]:
    """Return the options of the best point of each method's grid."""
    futures, points = {}, {}
    for name, method in methods.items():
        grid = method.get('grid', {})
        choices = list(itertools.product(*grid.values()))
        for i, values in enumerate(choices):
            points[name, i] = options = dict(zip(grid, values))
            if len(choices) == 1:
                continue
            run = runs.Run(
                method.config, f'{out}/{name}/search{i}', options, test=False
            )
            futures[pool.submit(runs.execute, run, keep=True)] = (name, i)
    found = dict(runs.collect(futures))
    best = {}
    for name in methods:
        mine = [key for key in points if key[0] == name]
        if len(mine) > 1:
            mine.sort(key=lambda key: (-found[key].val, key[1]))
        best[name] = points[mine[0]]
    return best


def report(methods: dict, best: dict, results: dict) -> str:
    """Return the table: one row for each method, mean ± spread over the seeds."""
    tested = all(result.test is not None for result in results.values())
    figure = next(iter(results.values())).figure
    shown = [f'val {figure} %', *([f'test {figure} %'] if tested else [])]
    rows = [['method', 'tuned parameters', 's', *shown, 'settings']]
    for name in methods:
        mine = [result for (method, _), result in results.items() if method == name]
        rows.append(
            [
                name,
                f'{mine[0].tuned:,}',
                f'{sum(r.seconds for r in mine) / len(mine):.0f}',
                runs.mean_and_spread([r.val for r in mine]),
                *([runs.mean_and_spread([r.test for r in mine])] if tested else []),
                ', '.join(f'{k.split(".")[-1]}={v}' for k, v in best[name].items()),
            ]
        )
    return runs.markdown(rows)


if __name__ == '__main__':
    main()
