# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What data costs beside a training step."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmpretrain.models.utils import ClsDataPreprocessor
from torch import Tensor
from torch.utils.data import DataLoader

from mmvpt.datasets import VTAB1k
from mmvpt.errors import UserError
from mmvpt.files import ROOT

from . import measure
from .subjects import Setting, Subject


def main(args: argparse.Namespace) -> dict:
    """Run the benchmark, write its file and return what is in it."""
    if min(args.images, args.batch_size, args.repeats, args.workers + 1) < 1:
        raise UserError(
            '--images, --batch-size and --repeats must be at least 1, --workers 0.'
        )
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    result = measure.begin('data', args)
    names = ('arch', 'batch_size', 'num_tokens', 'threads', 'device', 'dtype')
    step = Subject('vpt-deep', Setting(**{name: getattr(args, name) for name in names}))
    with tempfile.TemporaryDirectory() as folder:
        write_task(Path(folder), args.images, (args.height, args.width))
        result['seconds'] = {
            name: measure_rounds(args, step.run, loader(folder, in_memory, args))
            for name, in_memory in (('in_memory', True), ('from_files', False))
        }
    result['part_of_step'] = {
        name: statistics.median(
            a / b for a, b in zip(seconds['batch'], seconds['step'])
        )
        for name, seconds in result['seconds'].items()
    }
    clock = ' of the processor' if nothing_hidden(args) else ''
    result['summary'] = '\n'.join(
        f'{name.replace("_", " ")}: a batch of {args.batch_size} takes '
        f'{1e3 * statistics.median(result["seconds"][name]["batch"]):.1f} ms{clock}, '
        f'{100 * part:.2f} % of a training step'
        for name, part in result['part_of_step'].items()
    )
    measure.write(result, args.out)
    print(result['summary'])
    return result


def nothing_hidden(args: argparse.Namespace) -> bool:
    """Say whether this process and the CPU do everything."""
    return args.device == 'cpu' and not args.workers


def measure_rounds(
    args: argparse.Namespace, step: Callable[[], None], batches: Iterator[Tensor]
) -> dict[str, list[float]]:
    """Read a batch and run a step, again and again, as training does.

    Returns:
        Seconds of every round for its ``batch`` and its ``step``.
    """
    runs = {'batch': lambda: next(batches), 'step': step}
    return measure.time_in_turns(runs, args.repeats, args.device, nothing_hidden(args))


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


def loader(folder: str, in_memory: bool, args: argparse.Namespace) -> Iterator[Tensor]:
    """Yield normalised batches, (B, 3, height, width), one epoch after the other.

    Args:
        folder: As :func:`write_task` left it.
        in_memory: Whether decoded images are kept (``cache_images``).
        args: The command line.
    """
    config = Config.fromfile(ROOT / 'configs/_base_/datasets/vtab1k.py')
    options: dict[str, Any] = dict(task=None, split='train', num_classes=2)
    batches = DataLoader(
        VTAB1k(
            **options,
            data_root=folder,
            pipeline=config.pipeline,
            cache_images=in_memory,
        ),
        args.batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(0),
        collate_fn=pseudo_collate,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        pin_memory=args.workers > 0 and args.device == 'cuda',
    )
    preprocess = ClsDataPreprocessor(**config.data_preprocessor).to(args.device)
    while True:
        for batch in batches:
            yield preprocess(batch, training=True)['inputs']
