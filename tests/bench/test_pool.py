# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Workers: devices, failures, deaths."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmvpt.bench.pool import Job, Pool
from mmvpt.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
MODULE = 'tests.bench.deeds'


def run(pool, *jobs):
    for job in jobs:
        pool.submit(job)
    ends = []
    while pool.running:
        ends += pool.wait(1.0)
    return ends


def end_of(pool, function, **spec):
    """Run one job and return how it ended."""
    ((_, outcome, result),) = run(pool, Job(f'{MODULE}:{function}', spec))
    return outcome, result


def test_workers_share_devices_and_survive_failures():
    with Pool(3, ['4', '7'], 'fork') as pool:
        jobs = [Job(f'{MODULE}:device', dict(wait=0.2), key=i) for i in range(3)]
        assert sorted(result for *_, result in run(pool, *jobs)) == ['4', '4', '7']
        assert os.environ.get('CUDA_VISIBLE_DEVICES') is None
        processes = [worker.process.pid for worker in pool.workers]
        assert end_of(pool, 'fail', why='of this') == ('failed', 'because of this')
        outcome, why = end_of(pool, 'no_such')
        assert outcome == 'failed' and 'no_such' in why
        outcome, why = end_of(pool, 'cannot_be_sent')
        assert outcome == 'failed' and 'pickle' in why
        assert [worker.process.pid for worker in pool.workers] == processes
        with pytest.raises(RuntimeError, match='busy'):
            run(pool, *(Job(f'{MODULE}:device', dict(wait=0.5)) for _ in range(4)))


def test_a_dead_worker_is_replaced():
    with Pool(1, context='fork') as pool:
        outcome, why = end_of(pool, 'die')
        assert outcome == 'died' and '(-9)' in why
        _, pid = end_of(pool, 'pid')
        os.kill(pid, signal.SIGKILL)  # while it is idle
        time.sleep(0.3)
        assert end_of(pool, 'pid')[1] != pid
    with pytest.raises(UserError, match='at least 1'):
        Pool(0)


def test_a_replaced_worker_has_the_device_of_the_dead_one():
    with Pool(2, ['4', '7'], 'fork') as pool:
        device = Job(f'{MODULE}:device', dict(wait=0.2))
        ended = run(pool, Job(f'{MODULE}:die', {}), device)
        assert {outcome: result for _, outcome, result in ended}['done'] == '7'
        both = [Job(f'{MODULE}:device', dict(wait=0.2)) for _ in range(2)]
        assert sorted(result for *_, result in run(pool, *both)) == ['4', '7']


def test_a_job_that_ends_its_process_has_failed():
    with Pool(1, context='fork') as pool:
        end = end_of(pool, 'leave', status='no such thing')
        assert end == ('failed', 'no such thing')
        pid = pool.workers[0].process.pid
        outcome, why = end_of(pool, 'leave', status=3)
        assert outcome == 'failed' and 'with status 3' in why
        assert pool.workers[0].process.pid == pid


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_end_with_the_pool_in_the_middle_of_a_job():
    with Pool(1, context='fork') as pool:
        _, pid = end_of(pool, 'pid')
        pool.submit(Job(f'{MODULE}:device', dict(wait=600)))
    assert not is_alive(pid)


def test_workers_end_with_a_killed_parent():
    """With processes that start anew, as by default."""
    script = (
        'import time\nfrom mmvpt.bench.pool import Job, Pool\n'
        'if __name__ == "__main__":\n'
        '    with Pool(1, ["7"]) as pool:\n'
        '        for name, spec in (("device", dict(wait=0)), ("pid", {})):\n'
        f'            pool.submit(Job(f"{MODULE}:{{name}}", spec))\n'
        '            print(next(pool.wait(600))[2], flush=True)\n'
        f'        pool.submit(Job("{MODULE}:device", dict(wait=600)))\n'
        '        time.sleep(600)\n'
    )
    parent = subprocess.Popen(
        [sys.executable, '-c', script], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert parent.stdout.readline() == '7\n'
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        if not is_alive(worker):
            return
        time.sleep(0.1)
    pytest.fail('the worker lives on')
