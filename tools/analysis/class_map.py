#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Look which prompt every class of DA-VPT had after each update, and the drift.

Reads the history that SemanticMappingHook wrote, or with --checkpoints the maps in the
checkpoints of the run. Writes arrays to OUT.npz, then OUT.png:

    python tools/analysis/class_map.py work_dirs/davpt --out class_map
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / 'mmvpt' / '__init__.py').is_file():  # a checkout needs no installation
    sys.path.insert(0, str(ROOT))

from mmvpt import analysis  # noqa: E402
from mmvpt.analysis import command  # noqa: E402
from mmvpt.checkpoint import read_checkpoint  # noqa: E402
from mmvpt.engine.run import run_tool  # noqa: E402
from mmvpt.engine.work_dir import list_checkpoints  # noqa: E402


def class_names(work_dir: str, count: int) -> list[str] | None:
    """Return the names of the classes from a checkpoint of a run, if they are there.

    Args:
        work_dir: Work dir of the run.
        count: Classes of the map.
    """
    saved = list_checkpoints(work_dir)
    meta = read_checkpoint(saved[-1]).get('meta', {}) if saved else {}
    names = (meta.get('dataset_meta') or {}).get('classes') or ()
    return [str(name) for name in names] if len(names) == count else None


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dir', help='work dir of a run')
    parser.add_argument(
        '--checkpoints',
        action='store_true',
        help='read the checkpoints instead of the history',
    )
    command.add_out(parser, 'class_map')
    args = parser.parse_args(argv)
    read = analysis.read_history
    if args.checkpoints:
        read = analysis.read_checkpoint_maps
    arrays = read(args.work_dir)
    maps, num_prompts = arrays['maps'], arrays['sizes'].shape[1]
    drift = analysis.drift(maps, num_prompts)
    arrays.update({f'drift_{name}': values for name, values in drift.items()})
    path = command.save_arrays(args.out, arrays)

    from mmvpt.analysis import pictures

    unit = 'epoch' if 'epochs' in arrays else 'iteration'
    times = arrays['epochs' if unit == 'epoch' else 'iterations']
    names = class_names(args.work_dir, maps.shape[1])
    figure = pictures.draw_class_map(maps, drift, num_prompts, times, unit, names)
    pictures.save(figure, path)
    for i, time in enumerate(times):
        sizes = ' '.join(map(str, arrays['sizes'][i]))
        print(
            f'{unit} {time:6d}  moved {100 * drift["as_is"][i]:5.1f} %  '
            f'renumbered {100 * drift["aligned"][i]:5.1f} %  sizes {sizes}'
        )


if __name__ == '__main__':
    run_tool(main)
