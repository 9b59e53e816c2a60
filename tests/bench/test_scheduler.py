# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Jobs that do not fit beside others, and those whose processes die."""

from mmvpt.bench.pool import Job, Pool
from mmvpt.bench.scheduler import gather

SQUEEZE = 'tests.bench.deeds:squeeze'


def jobs(folder, count, **about):
    specs = [dict(folder=str(folder), name=str(i), **about) for i in range(count)]
    return [Job(SQUEEZE, spec, key=i) for i, spec in enumerate(specs)]


def test_what_does_not_fit_beside_others_is_tried_alone(tmp_path):
    with Pool(2, context='fork') as pool:
        batch = gather(pool, jobs(tmp_path, 5, too_big=False))
        assert list(tmp_path.glob('*.failed')), 'all ran one by one'
        assert batch.failed_for == {}
        assert batch.results == {i: str(i) for i in range(5)}
        batch = gather(pool, jobs(tmp_path, 1, too_big=True))
        assert 'nothing of this command beside it' in batch.failed_for[0]
        assert 'batch_size' in batch.failed_for[0]


def test_deaths_lead_to_a_try_alone():
    seen = []

    class Watched(Pool):
        def submit(self, job):
            seen.append((job.alone, len(self.running)))
            super().submit(job)

    with Watched(2, context='fork') as pool:
        die = Job('tests.bench.deeds:die', {}, key=0)
        rest = [
            Job('tests.bench.deeds:device', dict(wait=0.1), key=i) for i in range(1, 4)
        ]
        batch = gather(pool, [die, *rest])
    assert sorted(batch.results) == [1, 2, 3]
    assert 'process ended' in batch.failed_for[0]
    assert [beside for alone, beside in seen if alone] == [0, 0, 0]
    assert seen[0] == (False, 0) and len(seen) == 5 + 3
