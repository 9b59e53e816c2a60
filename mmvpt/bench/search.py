# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Search hyper-parameters on the validation split.

Trials lie in a database, by default a file. The same command, on this or another
machine, joins the search; run again after an interruption, it continues it. The best
settings are written as a config, the search as a record. Test data is not read.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from mmvpt.engine import run as launch
from mmvpt.engine.config_file import OptionAction

from . import PROTOCOLS, get_protocol, progress
from . import study as session
from .jobs import result_of
from .pool import Crew
from .programs import detail, say
from .scheduler import drive
from .space import Space, read_space
from .suites import Cell


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser('search.py', description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--space', help='what varies, e.g. configs/search/vpt_grid.py')
    session.add_search_arguments(parser, 'grid')
    parser.add_argument(
        '--protocol',
        default='vpt',
        choices=[p.name for p in PROTOCOLS.values() if p.searches],
        help='which images train and which choose [vpt]',
    )
    parser.add_argument('--metric', help='what is maximised [by the evaluator]')
    parser.add_argument('--study', help='name of the search in the storage')
    parser.add_argument('--out', help='folder [work_dirs/search/<config>]')
    parser.add_argument(
        '--cfg-options', nargs='+', action=OptionAction, metavar='KEY=VALUE'
    )
    args = parser.parse_args(argv)
    if args.strategy != 'fixed' and not args.space:
        parser.error(
            '--space is needed, unless --strategy fixed tries the config alone'
        )
    return args


def main(argv: Sequence[str] | None = None) -> dict | None:
    """Search.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The record of the search, None after --preview.

    Raises:
        RuntimeError: If a trial failed.
    """
    args = parse_args(argv)
    out = Path(args.out or f'work_dirs/search/{Path(args.config).stem}')
    launch.load_config(args.config, args.cfg_options)  # mistakes before anything else
    space = read_space(args.space) if args.space else Space({})
    method, _, rest = Path(args.config).stem.partition('_')
    backbone, _, task = rest.rpartition('_')
    cell = Cell(
        'search',
        task or method,
        '',
        method,
        backbone,
        args.config,
        args.cfg_options or {},
        space,
        args.metric,
    )
    settings = session.Settings(
        get_protocol(args.protocol),
        out,
        (args.search_seed,),
        args.storage or f'sqlite:///{out}/search.db',
        args.strategy,
        args.trials,
        args.batch,
        args.search_seed,
        args.accept_duplicates,
        args.study,
    )
    start = time.monotonic()
    with Crew(args.workers, args.devices) as crew:
        spec = session.search_spec(cell, settings, space)
        say(f'Looking at the data of {args.config}')
        inspected = result_of(crew, f'{session.TRIALS}:inspect_search', spec)
        tally = progress.Tally(crew.size)
        search = session.make_search(cell, settings, inspected, detail, tally)
        left = search.total - search.done
        if left and not search.over:
            say('Timing a few iterations')
            timed = result_of(crew, f'{session.TRIALS}:calibrate', spec)
            seconds = timed and timed['start'] + timed['training']
            rows = [(search.strategy.name, left, seconds)]
            text, _ = progress.preview(rows, crew.size)
            print(text, flush=True)
        if args.preview:
            return None
        say(f'{search.total} trials, {search.done} are done')
        drive(crew, [search])
    if search.failures:
        raise RuntimeError(
            '\n'.join(search.failures)
            + '\nRun the command again to try what failed once more.'
        )
    record = session.write_search(
        session.record_path(settings, cell, 'search'),
        cell,
        search,
        inspected,
        time.monotonic() - start,
    )
    best = write_config(out / 'best.py', args.config, record)
    say(
        f'best {record["metric"]} on validation {record["best"]["value"]:.2f}: '
        f'{progress.show_settings(record["best"]["overrides"]) or "as it is"}'
    )
    curve = progress.show_curve(search.outcomes)
    detail(f'best so far, by {inspected["unit"]} trained: {curve}')
    detail(f'config: {best}')
    return record


def write_config(path: Path, config: str, record: dict) -> Path:
    """Write the best settings as a config and return its path.

    Args:
        path: Where to.
        config: The config that was searched.
        record: The record of the search.
    """
    loaded = launch.load_config(
        config, {**record['overrides'], **record['best']['overrides']}
    )
    loaded.dump(str(path))
    return path
