# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Benchmarks of real, tiny trainings whose workers are killed end as undisturbed ones.

The machinery alone, with kills of whole sessions as well, is in test_kills.py.
"""

import os
import random
import signal
import threading
import time
from collections import Counter

import pytest

pytest.importorskip('optuna')

from mmvpt.bench import comparable, get_protocol, read_record
from mmvpt.bench.benchmark import Benchmark
from mmvpt.bench.pool import Pool
from mmvpt.bench.scheduler import MAX_DEATHS
from mmvpt.bench.settings import Settings
from mmvpt.bench.suites import load_suite
from tests.engine import miniature


class Killer(threading.Thread):
    """Kill the worker of a random job at random moments, spread over some seconds."""

    def __init__(self, pool, kills, seconds, seed):
        super().__init__(daemon=True)
        self.pool, self.left, self.rng = pool, kills, random.Random(seed)
        self.longest = 1.5 * seconds / (kills + 1)
        self.over = threading.Event()
        self.killed = Counter()

    def run(self):
        while self.left and not self.over.wait(self.rng.uniform(0, self.longest)):
            able = [
                (worker.process.pid, job.name)
                for worker, job in list(self.pool._running.values())
                # one more death of a job would be taken for its own fault
                if self.killed[job.name] < MAX_DEATHS - 1
            ]
            if able:
                pid, name = self.rng.choice(able)
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:  # killed before, which nobody has seen yet
                    continue
                self.killed[name] += 1
                self.left -= 1


@pytest.fixture(scope='module')
def suite(tmp_path_factory):
    root = tmp_path_factory.mktemp('project')
    data = miniature.write_data(root)
    config = miniature.config(data, train_cfg__max_epochs=3)
    config.experiment_name = None
    for stage in ('train', 'val', 'test'):
        config[f'{stage}_dataloader'].dataset.serialize_data = False
    config.dump(str(root / 'config.py'))
    (root / 'suite.py').write_text(
        "name = 'colours'\nbackbone = 'net'\ntasks = {'colours': {}}\n"
        'methods = {\n'
        f"    'deep': dict(config='{root}/config.py',\n"
        "        space={'optim_wrapper.optimizer.lr': dict(\n"
        '            low=0.001, high=0.1, log=True)}),\n'
        f"    'shallow': dict(config='{root}/config.py',\n"
        "        options={'model.backbone.prompt.type': 'ShallowPrompt',\n"
        "                 'optim_wrapper.optimizer.lr': 0.005}),\n"
        '}\n'
    )
    return load_suite(str(root / 'suite.py'), ['all'], None)


def run(suite, out, seeds, kills=0, seconds=0.0, seed=0):
    """Run the benchmark; return records, and how often jobs were killed."""
    url = f'sqlite:///{out}/search.db'
    settings = Settings(get_protocol('vpt'), out, seeds, url, 'asha', 4, 2)
    # forks, so that kills meet trainings and not the start of Python
    with Pool(2, context='fork') as pool:
        benchmark = Benchmark(suite, settings, pool, search=True)
        killer = Killer(pool, kills, seconds, seed)
        killer.start()
        failures = benchmark.run()
        killer.over.set()
        killer.join()
    assert not failures
    records = {
        path.name: comparable(read_record(path))
        for path in out.glob('records/**/*.json')
    }
    return records, killer.killed


def check(suite, root, seeds, kills, seed):
    start = time.monotonic()
    expected, _ = run(suite, root / 'undisturbed', seeds)
    seconds = time.monotonic() - start
    assert len(expected) == 2 * len(seeds) + 1
    figures = [r['metrics']['test'] for r in expected.values() if 'metrics' in r]
    assert len(set(map(str, figures))) > 1, 'too easy to tell trainings apart'
    found, killed = run(suite, root / 'killed', seeds, kills, seconds, seed)
    assert sum(killed.values()) > kills / 2, 'the run was over before'
    assert found == expected
    return killed


def test_three_kills(suite, tmp_path):
    check(suite, tmp_path, (1, 2), 3, seed=0)


@pytest.mark.sweep
@pytest.mark.parametrize('seed', range(3))
def test_twenty_kills(suite, tmp_path, seed):
    killed = check(suite, tmp_path, tuple(range(15)), 20, seed)
    assert len(killed) > 5
