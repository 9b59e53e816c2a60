# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Searches and benchmarks whose processes get killed; a program for tests.

Usage: ``python killable.py FOLDER KILLS SEED STRATEGY``. The session is a forked
child, so that everything heavy is imported once. At random moments either one of its
workers or the session itself is killed; a dead session is started anew. Workers import
this file, so that its top stays light.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def session(folder, strategy, pause):
    """Search, then run the final runs; everything is faked but the machinery."""
    from mmvpt.bench import get_protocol
    from mmvpt.bench import jobs as sources
    from mmvpt.bench.pool import Crew
    from mmvpt.bench.scheduler import drive
    from mmvpt.bench.study import Settings
    from mmvpt.bench.suites import Cell
    from tests.bench.searches import outcome_lines, start_search

    url = f'sqlite:///{folder}/search.db'
    search = start_search(folder, url, strategy, pause)
    settings = Settings(get_protocol('vpt'), folder, (1, 2, 3))
    cell = Cell('suite', 'task', '', 'method', 'net', 'none.py', metric='top1')

    def chosen():
        if not search.over:
            return None
        if search.failures:
            raise RuntimeError(search.failures[0])
        best = search.strategy.best(search.outcomes)
        return search.strategy.space.overrides(best.point)

    finals = sources.Finals(
        cell,
        settings,
        chosen,
        lambda _: None,
        function='tests.bench.fake:final',
    )
    with Crew(2) as crew:
        drive(crew, [search, finals], poll=0.05)
    if search.failures or finals.failures:
        raise RuntimeError(str(search.failures + finals.failures))
    (folder / 'outcomes').write_text('\n'.join(outcome_lines(search)))


def children(pid):
    """Return the processes that a process has started."""
    path = Path(f'/proc/{pid}/task/{pid}/children')
    try:
        return [int(word) for word in path.read_text().split()]
    except OSError:
        return []


def main():
    """Run a session to its end, killing on the way."""
    folder, kills, seed, strategy = sys.argv[1:]
    import tests.bench.searches  # noqa: F401  once, for all sessions

    rng, left, pid = random.Random(int(seed)), int(kills), None
    pause = 0.04
    killed = dict(worker=0, session=0)
    while True:
        if pid is None:
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    session(Path(folder), strategy, pause)
                    status = 0
                finally:
                    sys.stderr.flush()
                    os._exit(status)
        if left:
            time.sleep(rng.uniform(0.0, 0.7))
        done, status = os.waitpid(pid, os.WNOHANG if left else 0)
        if done and os.WIFEXITED(status):
            print(json.dumps(dict(killed, status=os.WEXITSTATUS(status))))
            return
        workers = [] if done else children(pid)
        if workers and rng.random() < 0.6:
            os.kill(rng.choice(workers), signal.SIGKILL)
            killed['worker'] += 1
        elif not done:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pid = None
            killed['session'] += 1
        left -= 1


if __name__ == '__main__':
    main()
