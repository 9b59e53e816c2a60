# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A pool without processes, for tests of what it works for."""

from mmvpt.display import find_function


class InlinePool:
    """Runs jobs in this process: the pool itself has tests of its own."""

    size, shares = 1, False

    def __init__(self, workers=1, devices=None):
        self.running, self.ends = [], []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    @property
    def idle(self):
        return 1 - len(self.running)

    def submit(self, job):
        self.running.append(job)
        try:
            end = job, 'done', find_function(job.function)(job.spec)
        except Exception as error:
            end = job, 'failed', str(error)
        self.ends.append(end)

    def wait(self, timeout):
        self.running, ends = [], self.ends
        self.ends = []
        return ends
