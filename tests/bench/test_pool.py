# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Workers: devices, failures, deaths."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmvpt.bench.pool import Crew, Job

ROOT = Path(__file__).resolve().parents[2]
MODULE = 'tests.bench.deeds'


def run(crew, *jobs):
    for job in jobs:
        crew.submit(job)
    events = []
    while crew.running:
        events += crew.wait(1.0)
    return events


def test_workers_share_devices_and_survive_failures():
    with Crew(3, ['4', '7']) as crew:
        jobs = [Job(f'{MODULE}:device', dict(wait=0.2), key=i) for i in range(3)]
        events = run(crew, *jobs)
        assert sorted(event.result for event in events) == ['4', '4', '7']
        event, *_ = run(crew, Job(f'{MODULE}:fail', dict(why='of this')))
        assert (event.outcome, event.result) == ('failed', 'because of this')
        event, *_ = run(crew, Job(f'{MODULE}:no_such', {}))
        assert event.outcome == 'failed' and 'no_such' in event.result
        assert len(crew.pids) == 3, 'a worker was lost'
        with pytest.raises(RuntimeError, match='busy'):
            run(crew, *(Job(f'{MODULE}:device', dict(wait=0.5)) for _ in range(4)))


def test_a_dead_worker_is_replaced():
    with Crew(1) as crew:
        job = Job(f'{MODULE}:die', {})
        event, *_ = run(crew, job)
        assert event.outcome == 'died' and event.job is job and job.deaths == 1
        pid = run(crew, Job(f'{MODULE}:pid', {}))[0].result
        os.kill(pid, signal.SIGKILL)  # while it is idle
        time.sleep(0.3)
        assert run(crew, Job(f'{MODULE}:pid', {}))[0].result != pid
    with pytest.raises(ValueError, match='at least 1'):
        Crew(0)


def test_a_replaced_worker_has_the_device_of_the_dead_one():
    with Crew(2, ['4', '7']) as crew:
        device = Job(f'{MODULE}:device', dict(wait=0.2))
        ended = run(crew, Job(f'{MODULE}:die', {}), device)
        assert {e.outcome: e.result for e in ended}['done'] == '7'
        both = [Job(f'{MODULE}:device', dict(wait=0.2)) for _ in range(2)]
        assert sorted(event.result for event in run(crew, *both)) == ['4', '7']


def test_a_job_that_ends_its_process_has_failed():
    with Crew(1) as crew:
        event, *_ = run(crew, Job(f'{MODULE}:leave', dict(status='no such thing')))
        assert (event.outcome, event.result) == ('failed', 'no such thing')
        pid = crew.pids
        event, *_ = run(crew, Job(f'{MODULE}:leave', dict(status=3)))
        assert event.outcome == 'failed' and 'with status 3' in event.result
        assert crew.pids == pid


def test_workers_end_with_a_killed_parent():
    script = (
        'import time\nfrom mmvpt.bench.pool import Crew, Job\n'
        'if __name__ == "__main__":\n'
        '    with Crew(1) as crew:\n'
        f'        crew.submit(Job("{MODULE}:pid", {{}}))\n'
        '        print(crew.wait(60)[0].result, flush=True)\n'
        '        time.sleep(600)\n'
    )
    parent = subprocess.Popen(
        [sys.executable, '-c', script], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail('the worker lives on')
