# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Jobs that take no training: a value from the settings, after a moment.

Imports nothing heavy, since every worker imports it.
"""

import json
import math
import os
import time
from pathlib import Path


def note(folder, line):
    """Append a line, whole, to the diary of what ran to its end."""
    handle = os.open(Path(folder) / 'diary', os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f'{line}\n'.encode())
    os.close(handle)


def value_of(overrides):
    """Return a smooth value with its peak at lr 0.1 and 10 tokens."""
    lr, tokens = overrides['lr'], overrides.get('tokens', 10)
    return 90 - 5 * abs(math.log10(lr / 0.1)) - 0.1 * abs(tokens - 10)


def trial(spec):
    """Be a trial of four epochs, with validations after one and three."""
    time.sleep(spec['pause'])
    if spec['overrides']['lr'] > 50:
        state, value, steps, cost = 'diverged', None, {}, 1.0
    else:
        value = value_of(spec['overrides'])
        steps = {1: value / 2, 3: value * 0.9}
        state, cost = 'complete', 4.0
        for step, threshold in spec['thresholds'].items():
            if steps[step] < threshold:
                state, value, cost = 'pruned', None, float(step)
                steps = {k: v for k, v in steps.items() if k <= step}
                break
    note(spec['folder'], f'trial {spec["slot"]} {spec["overrides"]}')
    return dict(state=state, value=value, steps=steps, cost=cost, seconds=0.1)


def final(spec):
    """Be a final run: keep a record that is there, else write one."""
    path = Path(spec['record'])
    if not path.exists():
        time.sleep(spec.get('pause', 0.02))
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f'.{os.getpid()}')
        aside.write_text(json.dumps(content(spec)))
        os.replace(aside, path)
        note(path.parents[4], f'final {spec["task"]} {spec["method"]} {spec["seed"]}')
    return json.loads(path.read_text())


def content(spec):
    """Return what stands for a record."""
    test = 80 + spec['seed'] + sum(spec['settings'].values())
    return dict(
        metric=spec['metric'],
        metrics=dict(test={spec['metric']: test}),
        measured=dict(seconds=1.0),
        settings=spec['settings'],
    )


def broken(spec):
    """Fail for a certain setting, as long as a file is there."""
    if spec['overrides']['lr'] == 1.0 and (Path(spec['folder']) / 'broken').exists():
        raise ValueError('this setting is broken')
    return trial(spec)
