# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Small jobs for tests of workers."""

import os
import signal
import sys
import time
from pathlib import Path


def device(spec):
    time.sleep(spec['wait'])
    return os.environ.get('CUDA_VISIBLE_DEVICES')


def fail(spec):
    raise ValueError(f'because {spec["why"]}')


def leave(spec):
    sys.exit(spec['status'])


def squeeze(spec):
    """Need all of the memory: end where another one runs."""
    import torch

    folder = Path(spec['folder'])
    mine = folder / f'{os.getpid()}.runs'
    others = list(folder.glob('*.runs'))
    mine.touch()
    try:
        if others or spec['too_big']:
            (folder / f'{spec["name"]}.failed').touch()
            try:
                raise torch.OutOfMemoryError('Tried to allocate 2.00 GiB')
            except RuntimeError as error:
                raise RuntimeError('see console.log') from error
        time.sleep(0.5)
    finally:
        mine.unlink()
    return spec['name']


def die(spec):
    os.kill(os.getpid(), signal.SIGKILL)


def pid(spec):
    return os.getpid()


def cannot_be_sent(spec):
    return lambda: None
