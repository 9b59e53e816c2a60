# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Many trainings in a row: results, their reuse, failures and tables."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.miniatures import make_vtab1k
from tools import runs
from tools.demo import data_options

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / 'configs/baselines/linear-converged_vit-digits_digits.py')


@pytest.fixture
def run(tmp_path):
    data = make_vtab1k(tmp_path / 'data', None, 5, size=(8, 8), per_class=2)
    options = {
        **data_options(str(data)),
        'model.backbone.init_cfg': None,
        'train_cfg.l2': [0.1],
    }
    return runs.Run(CONFIG, str(tmp_path / 'run'), options, predictions=True)


def test_a_run_is_trained_tested_and_kept(run):
    result = runs.execute(run)
    folder = Path(run.work_dir)
    assert result.tuned == 5 * 64 + 5
    assert 0 <= result.test <= 100 and 0 <= result.val <= 100
    assert (folder / 'predictions.pkl').exists()
    saved = json.loads((folder / runs.RESULT).read_text())
    assert saved['result'] == dataclasses.asdict(result)

    written = (folder / 'console.log').stat().st_mtime_ns
    assert runs.execute(run, keep=True) == result
    assert (folder / 'console.log').stat().st_mtime_ns == written
    other = dataclasses.replace(run, options={**run.options, 'train_cfg.l2': [1.0]})
    runs.execute(other, keep=True)
    assert (folder / 'console.log').stat().st_mtime_ns != written


def test_a_run_without_a_figure_says_what_it_lacks(run):
    options = {**run.options, 'val_evaluator.topk': [2]}
    with pytest.raises(RuntimeError, match='set val_evaluator'):
        runs.execute(dataclasses.replace(run, options=options))
    assert not (Path(run.work_dir) / runs.RESULT).exists()


def test_a_failure_names_the_output(run, capfd):
    broken = dataclasses.replace(run, options={'model.backbone.pooling': 'max'})
    with pytest.raises(
        RuntimeError, match=r"(?s)got 'max'.*output is in .*console.log"
    ):
        runs.execute(broken)
    assert not (Path(run.work_dir) / runs.RESULT).exists()
    print('visible again')
    assert 'visible again' in capfd.readouterr().out


def test_workers_end_with_a_killed_parent():
    script = (
        'import os, time\nfrom tools import runs\n'
        'if __name__ == "__main__":\n'
        '    with runs.pool(1) as pool:\n'
        '        print(pool.submit(os.getpid).result(), flush=True)\n'
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


def test_mean_and_spread():
    assert runs.mean_and_spread([1.0, 2.0, 3.0]) == '2.0 ± 1.0'
    assert runs.mean_and_spread([1.5]) == '1.5'


def test_tables():
    rows = [('a', 'long head'), ('cell', 'b')]
    assert runs.markdown(rows).splitlines() == [
        '| a    | long head |',
        '|------|-----------|',
        '| cell | b         |',
    ]
