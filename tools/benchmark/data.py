#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Measure what data costs beside a training step: decoding, resizing, normalising.

Writes JPEG images to a temporary folder and reads them as VTAB-1k's configs do, with
and without decoded images in memory, in this process. Workers do this beside the
training process; here nothing is hidden. Writes OUT.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / 'mmvpt' / '__init__.py').is_file():  # a checkout needs no installation
    sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.dataset import pseudo_collate  # noqa: E402
from mmpretrain.models.utils import ClsDataPreprocessor  # noqa: E402
from torch import Tensor  # noqa: E402

from mmvpt.datasets import VTAB1k  # noqa: E402
from tools.benchmark import measure  # noqa: E402
from tools.benchmark.subjects import Setting, Subject  # noqa: E402


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add('--arch', default='vit-b')
    add('--batch-size', type=int, default=8)
    add('--num-tokens', type=int, default=10, metavar='M')
    add('--images', type=int, default=1000)
    add('--width', type=int, default=300, help='of the image files, in pixels')
    add('--height', type=int, default=200, help='of the image files, in pixels')
    add('--threads', type=int, default=1)
    add('--repeats', type=int, default=5, help='rounds of one step and one batch')
    add('--out', default='work_dirs/benchmark/data', help='result without suffix')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> dict:
    """Run the benchmark, write its file and return what is in it.

    Args:
        argv: Arguments; those of the process by default.
    """
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    command = ['python', 'tools/benchmark/data.py', *(argv or sys.argv[1:])]
    result: dict[str, Any] = dict(
        command=shlex.join(command),
        date=datetime.now().astimezone().isoformat(timespec='seconds'),
        machine=measure.describe_machine('cpu'),
        load_before=os.getloadavg(),
        settings={k: v for k, v in vars(args).items() if k != 'out'},
    )
    setting = Setting(
        arch=args.arch,
        batch_size=args.batch_size,
        num_tokens=args.num_tokens,
        threads=args.threads,
    )
    subject = Subject('vpt-deep', setting)
    with tempfile.TemporaryDirectory() as folder:
        write_task(Path(folder), args.images, (args.height, args.width))
        runs = {
            'step': subject.run,
            'in_memory': loader(folder, True, args.batch_size),
            'from_files': loader(folder, False, args.batch_size),
        }
        for run in runs.values():
            run()  # libraries load at first use
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(args.repeats):
            for name, run in runs.items():
                start = time.process_time()
                run()
                seconds[name].append(time.process_time() - start)
    result['seconds'] = seconds
    steps = seconds.pop('step')
    result['part_of_step'] = {
        name: statistics.median(a / b for a, b in zip(values, steps))
        for name, values in seconds.items()
    }
    result['seconds'] = dict(seconds, step=steps)
    result['load_after'] = os.getloadavg()
    out = Path(args.out).with_suffix('.json')
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + '\n')
    for name, part in result['part_of_step'].items():
        print(
            f'{name.replace("_", " ")}: a batch of {args.batch_size} takes '
            f'{1e3 * statistics.median(seconds[name]):.1f} ms of the processor, '
            f'{100 * part:.2f} % of a training step'
        )
    return result


def write_task(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write smooth random JPEG images and their list, an own task of VTAB's layout.

    Args:
        folder: An empty folder.
        count: How many images.
        size: Their height and width in pixels.
    """
    random = np.random.default_rng(0)
    lines = []
    for i in range(count):
        coarse = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        image = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f'{i}.jpg'), image)
        lines.append(f'{i}.jpg {i % 2}\n')
    (folder / 'train.txt').write_text(''.join(lines))


def loader(folder: str, in_memory: bool, batch_size: int) -> Callable[[], Tensor]:
    """Return what makes a normalised batch, another one at each call.

    Args:
        folder: As :func:`write_task` left it.
        in_memory: Whether decoded images are kept (``cache_images``).
        batch_size: Images of a batch.
    """
    config = Config.fromfile(ROOT / 'configs/_base_/datasets/vtab1k.py')
    options = dict(task=None, split='train', data_root=folder, num_classes=2)
    dataset = VTAB1k(**options, pipeline=config.pipeline, cache_images=in_memory)
    preprocess = ClsDataPreprocessor(**config.data_preprocessor)
    order = itertools.cycle(np.random.default_rng(0).permutation(len(dataset)))

    def batch() -> Tensor:
        samples = [dataset[int(next(order))] for _ in range(batch_size)]
        return preprocess(pseudo_collate(samples), training=True)['inputs']

    return batch


if __name__ == '__main__':
    main()
