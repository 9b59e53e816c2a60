# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Run tools/train.py several times, killing it on the way; a program for tests.

Usage: ``python killed_runs.py JSON``, a list of ``[kill, arguments]``. Everything is
imported once and each run is a forked child. An argument ``KEY=seed-of:PATH`` gets the
seed that the checkpoint PATH holds. ``kill`` is null or ``[where, n]``, the
n-th time that happens: 'iter' (after a training iteration), 'val' (at a validation),
'write' (half of a checkpoint written), 'replace' (a file took its place, nothing after
that). Prints a JSON list of how the children ended.
"""

import functools
import importlib.util
import json
import os
import signal
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
spec = importlib.util.spec_from_file_location('train', ROOT / 'tools' / 'train.py')
train = importlib.util.module_from_spec(spec)
spec.loader.exec_module(train)

import mmengine.runner  # noqa: E402
import torch  # noqa: E402

import mmvpt.files  # noqa: E402
from mmvpt.checkpoint import read_checkpoint  # noqa: E402
from tests.quick import spare  # noqa: E402

torch.set_num_threads(1)
spare()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def nth(n, function, before=False):
    """Die at the n-th call of ``function``, before or after it ran."""
    calls = 0

    @functools.wraps(function)
    def counted(*args, **kwargs):
        nonlocal calls
        calls += 1
        if before and calls == n:
            die()
        result = function(*args, **kwargs)
        if calls == n:
            die()
        return result

    return counted


class HalfWritten:
    """A file of which half gets written before the process dies."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, data):
        self.file.write(data[: len(data) // 2])
        self.file.flush()
        die()


def arrange(where, n):
    """Patch the child so that it dies."""
    if where == 'iter':
        loops = (
            mmengine.runner.EpochBasedTrainLoop,
            mmengine.runner.IterBasedTrainLoop,
        )
        for loop in loops:
            loop.run_iter = nth(n, loop.run_iter)
    elif where == 'val':
        mmengine.runner.ValLoop.run_iter = nth(n, mmengine.runner.ValLoop.run_iter)
    elif where == 'replace':
        mmvpt.files.os.replace = nth(n, os.replace)
    elif where == 'write':
        written = 0

        def half_open(path, mode):
            nonlocal written
            written += '.pth' in str(path)
            file = open(path, mode)
            return HalfWritten(file) if written == n else file

        mmvpt.files.open = half_open
    else:
        raise ValueError(where)


def with_seed(argument):
    """Fill in the seed of a checkpoint."""
    key, _, path = argument.partition('=seed-of:')
    return f'{key}={read_checkpoint(path)["meta"]["seed"]}' if path else argument


def main():
    ends = []
    for kill, arguments in json.loads(sys.argv[1]):
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            status = 1
            try:
                if kill:
                    arrange(*kill)
                train.main([with_seed(argument) for argument in arguments])
                status = 0
            except BaseException:
                traceback.print_exc()
            os._exit(status)
        status = os.waitpid(pid, 0)[1]
        killed = os.WIFSIGNALED(status)
        ends.append('killed' if killed else os.WEXITSTATUS(status))
    print(json.dumps(ends))


if __name__ == '__main__':
    main()
