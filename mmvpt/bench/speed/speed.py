# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Operations, times and memory of prompt methods, each against its rivals."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import os
import sys
from pathlib import Path

from mmvpt.display import print_markdown
from mmvpt.errors import UserError

from . import measure
from .report import add_ratios, page
from .subjects import Setting, subject_names

#: What ratios refer to besides the full-token way, unless the command says otherwise.
REFERENCES = {'train': ('full', 'vpt-deep'), 'infer': ('bare', 'vpt-deep')}


def count_threads(text: str) -> int:
    """Return a number of threads; ``all`` is one for each core."""
    return measure.available_cores() if text == 'all' else int(text)


def names_of(args: argparse.Namespace, mode: str) -> list[str]:
    """Return the subjects of a mode."""
    return subject_names(mode, args.methods, args.against)


def main(args: argparse.Namespace) -> dict:
    """Run the benchmark, write its files and return what is in the JSON one."""
    everybody = {n for mode in args.modes for n in names_of(args, mode)}
    unknown = sorted(set(args.reference or ()) - everybody)
    if unknown:
        raise UserError(
            f'--reference {unknown[0]} is not measured; it must be one of '
            f'{", ".join(sorted(everybody))}.'
        )
    if min(*args.num_tokens, args.repeats, args.batch_size, 10**6) < 1:
        raise UserError('--num-tokens, --repeats and --batch-size must be at least 1.')
    args.threads = list(dict.fromkeys(map(count_threads, args.threads)))
    result = dict(measure.begin('speed', args), groups=[])
    names = {f.name for f in dataclasses.fields(Setting)} - {'num_tokens', 'threads'}
    shared = {name: value for name, value in vars(args).items() if name in names}
    for mode in args.modes:
        for count in args.num_tokens:
            setting = Setting(mode=mode, num_tokens=count, **shared)
            result['groups'] += measure_group(args, setting)
            # After every group: a long run that is stopped leaves what it has.
            measure.write(result, args.out)
            Path(args.out).with_suffix('.md').write_text(page(result))
    print_markdown(page(result))
    return result


def measure_group(args: argparse.Namespace, setting: Setting) -> list[dict]:
    """Measure all subjects of one mode and number of prompts, side by side.

    Returns:
        One group for each number of threads: its setting, the load at its end, the
        differences between methods and their full-token way, the subjects that were too
        large to be timed beside the others, and one row for each subject.
    """
    names = names_of(args, setting.mode)
    say = f'{setting.mode}, M = {setting.num_tokens}'
    operations = {}
    if 'operations' in args.measure:
        print(f'{say}: counting operations', file=sys.stderr, flush=True)
        operations = {n: measure.count_operations(n, setting) for n in names}
    timed = names if 'time' in args.measure else []
    subjects, checks, too_large = measure.prepare(timed, setting)
    groups = []
    # Counted operations do not depend on threads: without times, one group is all.
    several = {'time', 'memory'} & set(args.measure)
    for threads in args.threads if several else args.threads[:1]:
        cell = dataclasses.replace(setting, threads=threads)
        rows: dict[str, dict] = {name: dict(subject=name) for name in names}
        for name, value in operations.items():
            rows[name]['operations'] = value
        if subjects:
            print(f'{say}: timing, {threads} threads', file=sys.stderr, flush=True)
            for subject in subjects:
                subject.setting = cell
            times = measure.measure_times(subjects, args.repeats, args.warmup)
            for name, seconds in times.items():
                rows[name].update(seconds=seconds)
        if 'memory' in args.measure and threads == args.threads[0]:
            print(f'{say}: memory', file=sys.stderr, flush=True)
            for name in names:
                memory = measure.measure_memory(name, cell)
                rows[name].update({} if memory is None else dict(memory=memory))
        references = args.reference or REFERENCES[setting.mode]
        add_ratios(rows, references)
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
