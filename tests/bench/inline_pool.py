# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A crew without processes, for tests of what it works for."""

from mmvpt.bench.pool import Event
from mmvpt.bench.quiet import find_function


class InlineCrew:
    """Runs jobs in this process: the crew itself has tests of its own."""

    size = 1

    def __init__(self, workers, devices=None):
        self.running, self.events = [], []

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
            event = Event(job, 'done', find_function(job.function)(job.spec))
        except Exception as error:
            event = Event(job, 'failed', str(error))
        self.events.append(event)

    def wait(self, timeout):
        self.running, events = [], self.events
        self.events = []
        return events
