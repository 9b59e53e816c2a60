# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Searches and benchmarks whose processes get killed.

A session is a forked child. At random moments either a worker or a session is killed; a
dead session is started anew.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from mmvpt.bench import get_protocol
from mmvpt.bench.benchmark import Finals
from mmvpt.bench.pool import Pool
from mmvpt.bench.scheduler import run
from mmvpt.bench.settings import Settings
from mmvpt.bench.suites import Cell
from mmvpt.errors import UserError
from tests.bench.searches import outcome_lines, start_search


def session(folder, strategy, pause, url, finals=True):
    """Search, then run the final runs; everything is faked but the machinery."""
    search = start_search(folder, url, strategy, pause, grace=2)
    settings = Settings(get_protocol('vpt'), folder, (1, 2, 3))
    cell = Cell('suite', 'task', '', 'method', 'net', 'none.py', metric='top1')

    def chosen():
        if not search.over:
            return None
        if search.failures:
            raise UserError(search.failures[0])
        best = search.strategy.best(search.outcomes)
        return search.strategy.space.overrides(best.point)

    runs = Finals(
        cell,
        settings,
        chosen,
        function='tests.bench.fake:final',
    )
    with Pool(2, context='fork') as pool:
        run(pool, [search, runs] if finals else [search], poll=0.05)
    if search.failures or runs.failures:
        raise RuntimeError(str(search.failures + runs.failures))
    (folder / 'outcomes').write_text('\n'.join(outcome_lines(search)))


def children(pid):
    """Return the processes that a process has started."""
    path = Path(f'/proc/{pid}/task/{pid}/children')
    try:
        return [int(word) for word in path.read_text().split()]
    except OSError:
        return []


def start(*args):
    """Start a session and return its process."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            session(*args)
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid


def main(folder, kills, seed, strategy, url=None, count=1):
    """Run sessions to their ends, killing on the way; write down what was killed.

    Args:
        folder: Where all is written.
        kills: Their number.
        seed: Of the moments.
        strategy: Of the search.
        url: Of the storage, by default a file.
        count: Sessions at once; several do no final runs.
    """
    url = url or f'sqlite:///{folder}/search.db'
    rng, left = random.Random(seed), kills
    args = folder, strategy, 0.04, url, count == 1
    killed = dict(worker=0, session=0)
    pids = [start(*args) for _ in range(count)]
    while pids:
        if left:
            time.sleep(rng.uniform(0.0, 0.7))
        pid = rng.choice(pids)
        done, status = os.waitpid(pid, os.WNOHANG if left else 0)
        if done:
            pids.remove(pid)
            if status:
                sys.exit(f'a session ended with {status}')
            continue
        workers = children(pid)
        if workers and rng.random() < 0.6:
            os.kill(rng.choice(workers), signal.SIGKILL)
            killed['worker'] += 1
        else:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pids[pids.index(pid)] = start(*args)
            killed['session'] += 1
        left -= 1
    (folder / 'killed.json').write_text(json.dumps(killed))
