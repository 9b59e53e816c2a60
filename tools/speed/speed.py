#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Measure what prompt methods cost, against the plain ways, in one run.

Counts operations, times training steps and inference in interleaved rounds (A B C A B
C ...) and measures peak memory of every cell in a process of its own. Writes OUT.json
with everything and OUT.md with a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> dict:
    """Parse the command line, run the benchmark and return what it measured."""
    from mmvpt.command_line import declared, listed

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    bare, full, in_half, peft, attention = (
        listed(f'mmvpt.bench.speed.subjects:{name}')
        for name in ('BARE', 'FULL', 'IN_HALF', 'PEFT', 'ATTENTION')
    )
    against = ['full-token', *bare, *full]
    methods = listed('mmvpt.bench.speed.subjects:METHODS')
    with_cp = listed('mmvpt.bench.speed.subjects:WITH_CP')
    add(
        '--measure',
        nargs='+',
        choices=('operations', 'time', 'memory'),
        default=['operations', 'time', 'memory'],
        help='what to measure',
    )
    add('--modes', nargs='+', choices=('train', 'infer'), default=['train', 'infer'])
    add('--methods', nargs='*', choices=methods, default=methods)
    add(
        '--against',
        nargs='*',
        choices=[*against, *in_half, *peft],
        default=against,
        help='with what to compare; bf16: each method under autocast, bf16-frozen: '
        'with frozen weights kept in bfloat16; lora-peft: LoRA of PEFT, if it is '
        'installed [all but these three]',
    )
    add('--num-tokens', nargs='+', type=int, default=[1, 10, 50, 100], metavar='M')
    add('--arch', default='vit-b', help='a name such as vit-l')
    add('--image-size', type=int, default=224, help='side in pixels')
    add('--batch-size', type=int, default=8)
    add('--device', default='cpu', choices=('cpu', 'cuda'))
    add('--dtype', default='fp32', choices=('fp32', 'bf16'), help='bf16: autocast')
    add('--threads', nargs='+', default=['1', 'all'], help='counts of threads, or all')
    add('--repeats', type=int, default=10, help='measured rounds')
    add('--warmup', type=int, default=2, help='rounds before them')
    add('--drop-rate', type=float, default=0.0, help='every dropout rate of prompts')
    add('--with-cp', default='none', choices=with_cp, help='what methods recompute')
    add(
        '--attention',
        default='auto',
        choices=['auto', *attention],
        help="kernel of PyTorch's attention",
    )
    add('--compiled', action='store_true', help='compile models (torch.compile)')
    add('--optimizer', default='adamw', choices=('adamw', 'sgd'))
    add(
        '--reference',
        nargs='+',
        metavar='SUBJECT',
        help='what ratios refer to '
        'besides the full-token way [train: full, vpt-deep; infer: bare, vpt-deep]',
    )
    add('--out', default='work_dirs/benchmark/speed', help='results without suffix')
    return declared('mmvpt.bench.speed.speed:main')(parser.parse_args(argv))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
