# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Worker processes that run jobs, and are replaced when they die."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from mmvpt.display import find_function
from mmvpt.errors import UserError

from .console import reason


@dataclass(eq=False)
class Job:
    """A function, by name, and what it is called with."""

    function: str  # 'module:name'; gets spec and returns what pickle can hold
    spec: dict[str, Any]
    key: Any = None  # what it is to its source
    name: str = ''  # for readers
    source: Any = None  # who gave it to the scheduler
    deaths: int = 0  # of processes that ran it
    alone: bool = False  # nothing may run beside it


class _Worker:
    """One process: an executor of its own, so that its death hits no other job."""

    def __init__(self, context: Any, device: str | None) -> None:
        self._context = context
        self._variables = {
            'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS', '1'),
            **({} if device is None else {'CUDA_VISIBLE_DEVICES': str(device)}),
        }
        self._executor: ProcessPoolExecutor | None = None
        self.process: Any = None

    def submit(self, job: Job) -> futures.Future:
        """Run a job; starts the process if there is none."""
        if self._executor is not None:
            try:
                return self._executor.submit(_run, job.function, job.spec)
            except BrokenProcessPool:  # it died while it was idle
                self.close()
        self._executor = ProcessPoolExecutor(1, self._context, _start)
        others = set(multiprocessing.active_children())
        before = dict(os.environ)
        # Libraries read them when the process starts, before any initializer.
        os.environ.update(self._variables)
        try:
            future = self._executor.submit(_run, job.function, job.spec)
        finally:
            os.environ.clear()
            os.environ.update(before)
        (self.process,) = set(multiprocessing.active_children()) - others
        return future

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._executor is not None:
            self.process.kill()
            self._executor.shutdown()
            self._executor = None


class Pool(AbstractContextManager):
    """A number of worker processes, each with a device of its own or shared.

    A worker imports what its first job needs and keeps it. It ends when this process
    ends, however it ends. When a worker dies, a new one takes its place and device.

    Args:
        workers: Number of processes.
        devices: GPU numbers, over which workers are spread; several may share one. None
            leaves the environment as it is.
        context: How processes are started.

    Raises:
        UserError: If ``workers`` is below 1.
    """

    def __init__(
        self, workers: int, devices: Sequence[str] | None = None, context: str = 'spawn'
    ) -> None:
        if workers < 1:
            raise UserError(f'--workers must be at least 1, got {workers}')
        self.size = workers
        #: Whether workers share a device.
        self.shares = workers > max(1, len(set(devices or ())))
        start = multiprocessing.get_context(context)
        places = itertools.cycle(devices or [None])
        self.workers = [_Worker(start, next(places)) for _ in range(workers)]
        self._running: dict[futures.Future, tuple[_Worker, Job]] = {}

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.close()
        self._running.clear()

    @property
    def idle(self) -> int:
        """How many jobs could start now."""
        return self.size - len(self._running)

    @property
    def running(self) -> list[Job]:
        """The jobs that run now."""
        return [job for _, job in self._running.values()]

    def submit(self, job: Job) -> None:
        """Give a job to an idle worker.

        Raises:
            RuntimeError: If no worker is idle.
        """
        busy = [worker for worker, _ in self._running.values()]
        free = [worker for worker in self.workers if worker not in busy]
        if not free:
            raise RuntimeError(f'all {self.size} workers are busy')
        self._running[free[0].submit(job)] = free[0], job

    def wait(self, timeout: float) -> Iterator[tuple[Job, str, Any]]:
        """Yield how jobs have ended; waits until one has, or the time is over.

        Yields:
            The job; 'done', 'failed', 'memory' when it ran out of it, or 'died' when
            its process did; what the function returned, or a message.
        """
        ended = futures.wait(self._running, timeout, futures.FIRST_COMPLETED).done
        for future in ended:
            worker, job = self._running.pop(future)
            try:
                outcome, result, healthy = future.result()
            except BrokenProcessPool:
                # Its executor joins it; two threads that wait for one process race, and
                # one of them reads None.
                worker.close()
                code = worker.process.exitcode
                outcome, result, healthy = 'died', f'its process ended ({code})', False
            except Exception as error:  # what it returned cannot be sent
                outcome, result, healthy = 'failed', reason(error), True
            if not healthy:
                worker.close()
            yield job, outcome, result


def _start() -> None:
    """Prepare a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _run(function: str, spec: dict[str, Any]) -> tuple[str, Any, bool]:
    """Run a job in a worker; tell as well whether the process can go on."""
    try:
        answer = 'done', find_function(function)(spec)
    except (Exception, SystemExit) as error:
        answer = 'memory' if _lacked_memory(error) else 'failed', reason(error)
    return (*answer, _free_gpu())


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
