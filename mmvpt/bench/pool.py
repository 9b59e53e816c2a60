# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Worker processes that run jobs, and are replaced when they die."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from .console import reason
from .quiet import find_function

#: How often a job's process may die before the job counts as failed.
MAX_DEATHS = 5


@dataclass
class Job:
    """A function, by name, and what it is called with."""

    function: str  # 'module:name'; gets spec and returns what pickle can hold
    spec: dict[str, Any]
    source: Any = None  # who submitted it
    key: Any = None  # what it is to its source
    deaths: int = 0
    alone: bool = False  # nothing may run beside it
    name: str = ''  # for readers


@dataclass
class Event:
    """How a job ended."""

    job: Job
    #: 'done', 'failed', 'memory' when it ran out of it, 'died' when its process did
    outcome: str
    result: Any = None  # what the function returned, or a message


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    place: int  # of its device in the crew's list
    job: Job | None = field(default=None)


class Crew(AbstractContextManager):
    """A number of worker processes, each with a device of its own or shared.

    A worker imports what its first job needs and keeps it. It ends when this process
    ends, however it ends. When a worker dies, its job is reported as 'died', and a new
    worker takes its place.

    Args:
        workers: Number of processes.
        devices: GPU numbers; a new worker sees the one that fewest others have. Several
            workers may share one. None leaves the environment as it is.

    Raises:
        ValueError: If ``workers`` is below 1.
    """

    def __init__(self, workers: int, devices: Sequence[str] | None = None) -> None:
        if workers < 1:
            raise ValueError(f'--workers must be at least 1, got {workers}')
        self.size = workers
        self.devices = list(devices or [])
        self._context = multiprocessing.get_context('spawn')
        self._workers: list[_Worker] = []

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._workers.clear()

    @property
    def idle(self) -> int:
        """How many jobs could start now."""
        return self.size - sum(worker.job is not None for worker in self._workers)

    @property
    def shares(self) -> bool:
        """Whether workers share a device."""
        return self.size > max(1, len(set(self.devices)))

    @property
    def running(self) -> list[Job]:
        """The jobs that run now."""
        return [worker.job for worker in self._workers if worker.job is not None]

    @property
    def pids(self) -> list[int]:
        """The worker processes."""
        return [worker.process.pid for worker in self._workers]

    def submit(self, job: Job) -> None:
        """Give a job to an idle worker.

        Raises:
            RuntimeError: If no worker is idle.
        """
        if not self.idle:
            raise RuntimeError(f'all {self.size} workers are busy')
        free = [worker for worker in self._workers if worker.job is None]
        for worker in free:
            if self._send(worker, job):
                return
            self._bury(worker)
        worker = self._start()
        if not self._send(worker, job):
            raise RuntimeError('a worker process ended before it could start a job')

    @staticmethod
    def _send(worker: _Worker, job: Job) -> bool:
        try:
            worker.pipe.send((job.function, job.spec))
        except OSError:  # it died while it was idle
            return False
        worker.job = job
        return True

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        taken = [worker.place for worker in self._workers]
        place = min(range(len(self.devices)), key=taken.count, default=0)
        environment = {'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', '1')}
        if self.devices:
            environment['CUDA_VISIBLE_DEVICES'] = str(self.devices[place])
        # Set here as well: libraries read it when the child is started.
        saved = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            process = self._context.Process(
                target=_serve, args=(theirs, os.getpid(), list(sys.path)), daemon=False
            )
            process.start()
        finally:
            for name, value in saved.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
        theirs.close()
        worker = _Worker(process, ours, place)
        self._workers.append(worker)
        return worker

    def _bury(self, worker: _Worker) -> None:
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)

    def wait(self, timeout: float) -> list[Event]:
        """Return how jobs have ended; waits until one has, or the time is over.

        Args:
            timeout: Seconds.
        """
        busy = {worker.pipe: worker for worker in self._workers if worker.job}
        if not busy:
            return []
        events = []
        for pipe in wait(list(busy), timeout):
            worker = busy[pipe]
            job, worker.job = worker.job, None
            try:
                outcome, result = worker.pipe.recv()
            except (EOFError, OSError):
                self._bury(worker)
                outcome, result = (
                    'died',
                    f'its process ended ({worker.process.exitcode})',
                )
                job.deaths += 1
            events.append(Event(job, outcome, result))
        return events


def _serve(pipe: Connection, parent: int, path: list[str]) -> None:
    """Run jobs until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    sys.path[:] = path
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    while True:
        try:
            name, spec = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = 'done', find_function(name)(spec)
        except (Exception, SystemExit) as error:
            answer = 'memory' if _lacked_memory(error) else 'failed', reason(error)
        healthy = _free_gpu()
        try:
            pipe.send(answer)
        except OSError:
            return
        if not healthy:
            return  # the crew starts another process


def _lacked_memory(error: BaseException | None) -> bool:
    """Tell whether memory ran out, of the GPU or of the machine."""
    while error is not None:
        if type(error).__name__ in ('OutOfMemoryError', 'MemoryError') or re.search(
            "out of memory|ALLOC_FAILED|can't allocate memory|killed by signal",
            str(error),
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def _free_gpu() -> bool:
    """Give back what a job has left in torch's cache: others share the GPU.

    Returns:
        False if the process cannot use the GPU any more, as after a failed kernel.
    """
    torch = sys.modules.get('torch')
    if torch is None or not torch.cuda.is_initialized():
        return True
    gc.collect()
    try:
        torch.cuda.empty_cache()
    except RuntimeError:
        return False
    return True


def _end_with(parent: int) -> None:
    """End this process when the parent has ended, even if it was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
