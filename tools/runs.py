# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Many trainings, each through tools/train.py and tools/test.py, in a few processes."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

RESULT = 'result.json'
#: What a run is judged by, as tables call it, by the name of the metric.
FIGURES = {'accuracy/top1': 'top-1', 'mIoU': 'mIoU'}


@dataclass(frozen=True)
class Run:
    """One training, and perhaps a test of its last checkpoint."""

    config: str
    work_dir: str
    options: Mapping[str, Any] = field(default_factory=dict)  # as --cfg-options
    test: bool = True
    #: keep the test predictions: predictions.pkl, or label maps in predictions/
    predictions: bool = False


@dataclass(frozen=True)
class Result:
    """What a run gave."""

    tuned: int  # parameters that train
    seconds: float  # of training and validation
    val: float  # the figure on the validation images, in %
    test: float | None  # the figure on the test images, in %
    figure: str = 'top-1'  # one of FIGURES


def pool(workers: int) -> ProcessPoolExecutor:
    """Return worker processes that do not share the parent's state."""
    os.environ.setdefault('OMP_NUM_THREADS', '1')  # runs side by side, a core each
    return ProcessPoolExecutor(
        workers, get_context('spawn'), initializer=_end_with, initargs=(os.getpid(),)
    )


def _end_with(parent: int) -> None:
    """End this process when the parent has ended, even if it was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def execute(run: Run, keep: bool = False) -> Result:
    """Train and test; meant for a worker process.

    Args:
        run: What to run. Its output goes to ``console.log`` of its work dir.
        keep: Whether to return the result of an earlier, equal run instead.

    Returns:
        The result, which is also written to ``result.json``.

    Raises:
        RuntimeError: If the run fails, with the path of its output.
    """
    path = Path(run.work_dir) / RESULT
    key = json.loads(json.dumps(asdict(run)))
    if keep and path.exists():
        earlier = json.loads(path.read_text())
        if earlier['run'] == key:
            return Result(**earlier['result'])
    with console(Path(run.work_dir)):
        result = _train_and_test(run)
    aside = path.with_suffix('.tmp')
    aside.write_text(json.dumps(dict(run=key, result=asdict(result)), indent=1) + '\n')
    os.replace(aside, path)
    return result


def _train_and_test(run: Run) -> Result:
    from mmvpt.models.tunable import count_parameters
    from tools.test import main as test
    from tools.train import main as train

    options = [f'{name}={value}' for name, value in run.options.items()]
    options = ['--cfg-options', *options] if options else []
    start = time.monotonic()
    where = ['--work-dir', run.work_dir]
    runner = train([run.config, *where, '--overwrite', *options])
    seconds = time.monotonic() - start
    scalars = runner.message_hub.log_scalars
    metric = next((name for name in FIGURES if f'val/{name}' in scalars), None)
    if metric is None:
        raise RuntimeError(
            f'{run.config} was not validated at the end of training with one of '
            f'{list(FIGURES)}: set val_evaluator and train_cfg.val_interval.'
        )
    val = float(scalars[f'val/{metric}'].current())
    tested = None
    if run.test:
        checkpoint = (Path(run.work_dir) / 'last_checkpoint').read_text().strip()
        if run.predictions:
            suffix = '' if runner.cfg.default_scope == 'mmseg' else '.pkl'
            where += ['--out', f'{run.work_dir}/predictions{suffix}']
        tested = float(test([run.config, checkpoint, *where, *options])[metric])
    tuned = count_parameters(runner.model)[0]
    return Result(tuned, seconds, val, tested, FIGURES[metric])


def collect(futures: Mapping[Future, Any]) -> Iterator[tuple[Any, Result]]:
    """Yield the names and results of runs as they end, and print a line for each.

    Args:
        futures: The submitted runs with what they are called, anything printable.

    Raises:
        RuntimeError: If a run failed; the runs that wait are cancelled first.
    """
    waiting, start = list(futures), time.monotonic()
    while waiting:
        for future in [future for future in waiting if future.done()]:
            waiting.remove(future)
            try:
                result = future.result()
            except BaseException:
                for other in waiting:
                    other.cancel()
                raise
            done = len(futures) - len(waiting)
            spent = time.monotonic() - start
            left = spent / done * len(waiting)
            shown = 'val' if result.test is None else 'test'
            print(
                f'    [{done:{len(str(len(futures)))}}/{len(futures)}] '
                f'{_name(futures[future])}: {shown} {getattr(result, shown):.1f} % '
                f'({result.seconds:.0f} s)'
                + (f', about {left:.0f} s left' if waiting else ''),
                flush=True,
            )
            yield futures[future], result
        time.sleep(0.1)


@contextmanager
def console(work_dir: Path) -> Iterator[None]:
    """Send what the process prints to ``console.log`` in ``work_dir``.

    Raises:
        RuntimeError: Instead of what was raised inside, with the path of the output.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    path = work_dir / 'console.log'
    _flush()
    saved = [os.dup(stream) for stream in (1, 2)]
    try:
        with open(path, 'w') as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
            yield
    except BaseException as error:
        raise RuntimeError(f'{error}\nThe whole output is in {path}') from error
    finally:
        _flush()
        for stream, old in zip((1, 2), saved):
            os.dup2(old, stream)
            os.close(old)


def mean_and_spread(values: Sequence[float]) -> str:
    """Return 'mean ± sample standard deviation'."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f'{mean:.1f}'
    spread = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    return f'{mean:.1f} ± {spread:.1f}'


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a table of cells, the first row as its head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        '| ' + ' | '.join(cell.ljust(w) for cell, w in zip(row, widths)) + ' |'
        for row in rows
    ]
    lines.insert(1, '|' + '|'.join('-' * (w + 2) for w in widths) + '|')
    return '\n'.join(lines) + '\n'


def _name(name: Any) -> str:
    return ', '.join(map(str, name)) if isinstance(name, tuple) else str(name)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
