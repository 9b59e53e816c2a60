# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Counted operations, interleaved times and peak memory of subjects."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .. import write_json
from ..hooks import resident
from ..provenance import PACKAGES, installed
from .subjects import Setting, Subject, differences, split_name

OutOfMemoryError = torch.cuda.OutOfMemoryError


def count_operations(name: str, setting: Setting) -> int:
    """Count the floating-point operations of matrix products and convolutions.

    Forward and, for training, backward; no optimizer step. Attention counts as its
    matrix products, each once, whatever kernel would run.

    Args:
        name: The subject.
        setting: The cell. The device is not used: nothing is computed, but for
            guidance, which autocast keeps from running without a device.
    """
    device = 'cpu' if name == 'da-vpt-guided' else 'meta'
    setting = dataclasses.replace(
        setting, device=device, dtype='fp32', attention='auto', compiled=False
    )
    subject = Subject(split_name(name, 'fp32')[0], setting)
    if setting.mode == 'infer':
        subject.count()  # what is computed once for all batches is not counted
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        subject.count()
    return counter.get_total_flops()


def prepare(
    names: list[str], setting: Setting
) -> tuple[list[Subject], dict[str, dict], list[str]]:
    """Build subjects that share frozen weights, and compare what must be equal.

    Returns:
        The subjects; by method, :func:`differences` from its full-token way; and the
        names of those that a GPU has no room for beside the others.
    """
    subjects: dict[str, Subject] = {}
    too_large = []
    frozen = None
    for name in names:
        try:
            subjects[name] = Subject(name, setting, frozen)
            if setting.device != 'cpu':
                subjects[name].run(update=False)
        except OutOfMemoryError:
            subjects.pop(name, None)
            too_large.append(name)
            torch.cuda.empty_cache()
            continue
        if frozen is None:
            frozen = subjects[name].frozen_state() or None
    checks = {}
    for name, subject in subjects.items():
        plain = subjects.get(f'{name}/full-token')
        if plain is not None and not (setting.drop_rate and setting.mode == 'train'):
            checks[name] = differences(subject, plain)
    for subject in subjects.values():
        if setting.compiled:
            subject.model.compile()
    return list(subjects.values()), checks, too_large


def time_in_turns(
    runs: Mapping[str, Callable[[], object]],
    repeats: int,
    device: str,
    warmup: int = 1,
) -> dict[str, dict[str, list[float]]]:
    """Run everything in turn, again and again, so that load hits all alike.

    Args:
        runs: What is run, by name.
        repeats: Rounds that are measured.
        device: Where it runs.
        warmup: Rounds before them that are not; libraries load at first use.

    Returns:
        Seconds of every round: ``processor`` and ``wall``, each by name.
    """
    clocks = dict(processor=time.process_time, wall=time.perf_counter)
    seconds: dict[str, dict[str, list[float]]] = {
        clock: {name: [] for name in runs} for clock in clocks
    }
    for turn in range(warmup + repeats):
        for name, run in runs.items():
            starts = {clock: now() for clock, now in clocks.items()}
            run()
            synchronize(device)
            if turn >= warmup:
                for clock, now in clocks.items():
                    seconds[clock][name].append(now() - starts[clock])
    return seconds


def clock_of(device: str, workers: int = 0) -> str:
    """Return the clock that counts: of the processor where this process does all."""
    return 'processor' if device == 'cpu' and not workers else 'wall'


def measure_memory(name: str, setting: Setting) -> dict[str, Any] | None:
    """Measure one cell in a process of its own.

    Returns:
        In bytes, on the CPU ``before`` (resident after all imports and a step of a
        tiny model), ``peak`` (largest resident set) and ``allocated``, see
        :func:`most_allocated`; on a GPU ``peak`` (largest allocation). For training
        without recomputation also ``kept``, see :func:`kept_for_backward`. None if a
        GPU has no room for it.
    """
    cell = json.dumps([name, dataclasses.asdict(setting)])
    out = subprocess.run(
        [sys.executable, '-m', __spec__.name, cell],
        env={**os.environ, 'KINETO_LOG_LEVEL': '99'},  # the profiler's own messages
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(out.stdout.splitlines()[-1])


def memory_here(name: str, setting: Setting) -> dict[str, Any]:
    """Build and run a subject in this process, and say what it took."""
    torch.set_num_threads(setting.threads)
    tiny = dataclasses.replace(setting, arch='vit-ti', image_size=64, batch_size=1)
    Subject(name, tiny).run()  # libraries load at first use
    gc.collect()
    before = resident('VmRSS') if setting.device == 'cpu' else 0
    subject = Subject(name, setting)
    if setting.compiled:
        subject.model.compile()
    for _ in range(2):  # what the optimizer keeps exists after the first
        subject.run()
    if setting.device == 'cpu':
        found = dict(before=before, peak=resident('VmHWM'))
        found['allocated'] = most_allocated(subject)
    else:
        synchronize(setting.device)
        found = dict(peak=torch.cuda.max_memory_allocated())
    plain = setting.with_cp == 'none' and not setting.compiled
    if setting.mode == 'train' and plain:
        found['kept'] = kept_for_backward(subject)
    return found


def most_allocated(subject: Subject) -> int:
    """Count the bytes of tensors when they are most in a run, parameters included.

    What ``torch.cuda.max_memory_allocated`` is on a GPU. Unlike a resident set this is
    the same on every machine, and has no holes of the heap.
    """
    states = subject.optimizer.state.values() if subject.optimizer else ()
    held = [*subject.model.parameters(), *subject.model.buffers(), subject.images]
    held += [x for state in states for x in state.values() if torch.is_tensor(x)]
    storages = {x.untyped_storage()._cdata: x.untyped_storage() for x in held}
    now = sum(storage.nbytes() for storage in storages.values())
    with torch.autograd.profiler.profile(use_cpu=True, profile_memory=True) as profile:
        subject.run()
    events = [e for e in profile.kineto_results.events() if e.name() == '[memory]']
    changes = (e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()))
    return now + max(itertools.accumulate(changes), default=0)


def kept_for_backward(subject: Subject) -> int:
    """Count the bytes that autograd keeps of a forward pass, parameters left out.

    Every storage counts once, whole. Unlike a peak this is the same on every machine.

    Args:
        subject: It trains, and recomputes nothing: what recomputation starts from is
            not seen here.
    """
    own = {p.untyped_storage().data_ptr() for p in subject.model.parameters()}
    sizes: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        losses = subject.losses()
    del losses
    return sum(sizes.values())


def synchronize(device: str) -> None:
    """Wait for the GPU, if there is one in play."""
    if device.startswith('cuda'):
        torch.cuda.synchronize()


def begin(program: str, settings: Mapping[str, Any]) -> dict:
    """Return what a result says of its run: command, date, machine, load, settings."""
    words = ['python', f'tools/speed/{program}.py', *sys.argv[1:]]
    own = ('out', 'folder')  # where things go
    return dict(
        command=shlex.join(words),
        date=datetime.now().astimezone().isoformat(timespec='seconds'),
        machine=describe_machine(settings.get('device', 'cpu')),
        load_before=os.getloadavg(),
        settings={k: v for k, v in settings.items() if k not in own},
    )


def finish(result: dict, out: str, summary: str) -> dict:
    """Write OUT.json with a summary, print this, and return the result."""
    result['summary'] = summary
    write(result, out)
    print(summary)
    return result


def write(result: dict, out: str) -> None:
    """Write OUT.json, with the load of this moment."""
    result['load_after'] = os.getloadavg()
    write_json(Path(out).with_suffix('.json'), result)


def describe_machine(device: str) -> dict:
    """Describe processor, memory, GPU and versions."""
    info = Path('/proc/cpuinfo')
    model = re.search(r'model name\s*: (.*)', info.read_text() if info.exists() else '')
    pages = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    found = (installed(names) for names in (*PACKAGES, ('timm',)))
    return dict(
        processor=model[1] if model else platform.processor(),
        cores=available_cores(),
        instructions=torch.backends.cpu.get_cpu_capability(),
        memory_gib=round(pages / 2**30, 1),
        system=f'{platform.system()} {platform.machine()}',
        gpu=torch.cuda.get_device_name() if device.startswith('cuda') else None,
        versions=dict(
            python=platform.python_version(),
            **dict(version.split() for version in found if version),
        ),
    )


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if __name__ == '__main__':
    subject_name, options = json.loads(sys.argv[1])
    try:
        measured = json.dumps(memory_here(subject_name, Setting(**options)))
    except OutOfMemoryError:
        measured = json.dumps(None)
    print(measured)
