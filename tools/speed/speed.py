#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Measure what prompt methods cost, against the plain ways, in one run.

Counts operations, times training steps and inference in interleaved rounds (A B C A B
C ...) and measures peak memory of every cell in a process of its own. Writes OUT.json
with everything and OUT.md with a table.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> dict:
    """Measure, and return what is in the JSON file."""
    from mmvpt.command_line import SPEED, declared, listed, run

    bare, full, ways, peft, attention, methods, with_cp = (
        listed(f'mmvpt.bench.speed.subjects:{name}')
        for name in ('BARE', 'FULL', 'WAYS', 'PEFT', 'ATTENTION', 'METHODS')
        + ('WITH_CP',)
    )
    usual = ['full-token', *bare, *full]
    against = [*usual, *ways, *peft]
    return run(
        declared('mmvpt.bench.speed.speed:measure_methods'),
        __doc__,
        argv,
        also=[declared('mmvpt.bench.speed.subjects:Setting')],
        **SPEED,
        mode=None,
        methods=dict(nargs='*', choices=methods, default=methods, placed=False),
        against=dict(nargs='*', choices=against, default=usual, placed=False),
        measure=dict(choices=('operations', 'time', 'memory')),
        modes=dict(choices=('train', 'infer')),
        optimizer=dict(choices=('adamw', 'sgd')),
        with_cp=dict(choices=with_cp),
        attention=dict(choices=['auto', *attention]),
        reference=dict(metavar='SUBJECT'),
    )


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
