# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Operations, times and memory of prompt methods, each against its rivals."""

from __future__ import annotations

import dataclasses
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mmvpt.display import print_markdown
from mmvpt.errors import UserError

from .measure import (
    available_cores,
    begin,
    count_operations,
    measure_memory,
    prepare,
    time_in_turns,
    write,
)
from .report import add_ratios, page
from .subjects import Setting, subject_names

#: What ratios refer to besides the full-token way, unless the command says otherwise.
REFERENCES = {'train': ('full', 'vpt-deep'), 'infer': ('bare', 'vpt-deep')}


def measure_methods(
    *,
    methods: Sequence[str],
    against: Sequence[str],
    measure: Sequence[str] = ('operations', 'time', 'memory'),
    modes: Sequence[str] = ('train', 'infer'),
    num_tokens: Sequence[int] = (1, 10, 50, 100),
    threads: Sequence[str] = ('1', 'all'),
    repeats: int = 10,
    warmup: int = 2,
    reference: Sequence[str] | None = None,
    out: str = 'work_dirs/benchmark/speed',
    **cell: Any,
) -> dict:
    """Run the benchmark, write its files and return what is in the JSON one.

    Args:
        methods: Prompt methods.
        against: With what to compare; bf16: each method under autocast, bf16-frozen:
            with frozen weights kept in bfloat16, fused: with PyTorch's attention where
            a CPU has ours; lora-peft: LoRA of PEFT, if it is installed [all but these
            four].
        measure: What to measure.
        modes: train for a step of forward, backward and optimizer; infer.
        num_tokens: Prompts (M) of every layer that has prompts.
        threads: Counts of threads, or all.
        repeats: Measured rounds.
        warmup: Rounds before them.
        reference: What ratios refer to besides the full-token way [train: full,
            vpt-deep; infer: bare, vpt-deep].
        out: Results without suffix.
        **cell: Fields of :class:`Setting`.

    Raises:
        UserError: If a reference is not measured, or a number is too small.
    """
    options = {**locals(), **cell}
    del options['cell']
    names = {mode: subject_names(mode, methods, against) for mode in modes}
    everybody = {name for found in names.values() for name in found}
    unknown = sorted(set(reference or ()) - everybody)
    if unknown:
        raise UserError(
            f'--reference {unknown[0]} is not measured; it must be one of '
            f'{", ".join(sorted(everybody))}.'
        )
    if min(*num_tokens, repeats, cell.get('batch_size', 1), 10**6) < 1:
        raise UserError('--num-tokens, --repeats and --batch-size must be at least 1.')
    counts = [available_cores() if c == 'all' else int(c) for c in threads]
    options['threads'] = list(dict.fromkeys(counts))
    result = dict(begin('speed', options), groups=[])
    for mode in modes:
        for count in num_tokens:
            setting = Setting(mode=mode, num_tokens=count, **cell)
            result['groups'] += measure_group(names[mode], setting, options)
            # After every group: a long run that is stopped leaves what it has.
            write(result, out)
            Path(out).with_suffix('.md').write_text(page(result))
    print_markdown(page(result))
    return result


def measure_group(names: list[str], setting: Setting, options: dict) -> list[dict]:
    """Measure all subjects of one mode and number of prompts, side by side.

    Args:
        names: The subjects.
        setting: What they share.
        options: Arguments of :func:`measure_methods`.

    Returns:
        One group for each number of threads: its setting, the load at its end, the
        differences between methods and their full-token way, the subjects that were too
        large to be timed beside the others, and one row for each subject.
    """
    say = f'{setting.mode}, M = {setting.num_tokens}'
    what, counts = options['measure'], options['threads']
    operations = {}
    if 'operations' in what:
        print(f'{say}: counting operations', file=sys.stderr, flush=True)
        operations = {n: count_operations(n, setting) for n in names}
    timed = names if 'time' in what else []
    subjects, checks, too_large = prepare(timed, setting)
    groups = []
    # Counted operations do not depend on threads: without times, one group is all.
    several = {'time', 'memory'} & set(what)
    for threads in counts if several else counts[:1]:
        cell = dataclasses.replace(setting, threads=threads)
        rows: dict[str, dict] = {name: dict(subject=name) for name in names}
        for name, value in operations.items():
            rows[name]['operations'] = value
        if subjects:
            print(f'{say}: timing, {threads} threads', file=sys.stderr, flush=True)
            torch.set_num_threads(threads)
            runs = {subject.name: subject.run for subject in subjects}
            times = time_in_turns(
                runs, options['repeats'], cell.device, options['warmup']
            )
            for name in runs:
                seconds = {clock: times[clock][name] for clock in ('wall', 'processor')}
                rows[name].update(seconds=seconds)
        if 'memory' in what and threads == counts[0]:
            print(f'{say}: memory', file=sys.stderr, flush=True)
            for name in names:
                memory = measure_memory(name, cell)
                rows[name].update({} if memory is None else dict(memory=memory))
        add_ratios(rows, options['reference'] or REFERENCES[setting.mode])
        groups.append(
            dict(
                setting=dataclasses.asdict(cell),
                load=os.getloadavg(),
                checks=checks,
                too_large=too_large,
                rows=list(rows.values()),
            )
        )
    del subjects
    gc.collect()
    return groups
