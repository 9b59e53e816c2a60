# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Run tools/train.py several times, killing it on the way."""

import functools
import os
import signal
import traceback

import mmengine.runner

import mmvpt.files
from mmvpt.checkpoint import read_checkpoint
from tests.tools.programs import train_tool


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


def run_all(runs):
    """Run each in a forked child and compare how it ended with what is due.

    Args:
        runs: Pairs ``[kill, arguments]``. ``kill`` is None or ``[where, n]``, the n-th
            time that happens: 'iter' (after a training iteration), 'val' (at a
            validation), 'write' (half of a checkpoint written), 'replace' (a file took
            its place, nothing after that). An argument ``KEY=seed-of:PATH`` gets the
            seed that the checkpoint PATH holds.
    """
    for kill, arguments in runs:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                if kill:
                    arrange(*kill)
                train_tool.main([with_seed(argument) for argument in arguments])
                status = 0
            except BaseException:
                traceback.print_exc()
            os._exit(status)
        status = os.waitpid(pid, 0)[1]
        due = -signal.SIGKILL if kill else 0
        assert os.waitstatus_to_exitcode(status) == due, (kill, arguments)
