# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Small jobs for tests of workers."""

import os
import signal
import time


def device(spec):
    time.sleep(spec['wait'])
    return os.environ.get('CUDA_VISIBLE_DEVICES')


def fail(spec):
    raise ValueError(f'because {spec["why"]}')


def die(spec):
    os.kill(os.getpid(), signal.SIGKILL)


def pid(spec):
    return os.getpid()
