# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What data costs beside a training step."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
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


def measure_data(
    *,
    images: int = 1000,
    width: int = 300,
    height: int = 200,
    workers: int = 0,
    repeats: int = 5,
    out: str = 'work_dirs/benchmark/data',
    **cell: Any,
) -> dict:
    """Read a batch and run a training step of VPT-deep, again and again.

    Args:
        images: Image files.
        width: Of the image files, in pixels.
        height: Of the image files, in pixels.
        workers: Processes that read images.
        repeats: Rounds of one step and one batch.
        out: Result without suffix.
        **cell: Fields of :class:`Setting`; its threads are those of OpenCV as well.

    Returns:
        What is in the file.

    Raises:
        UserError: If a number is too small.
    """
    setting = Setting(**cell)
    batch_size, device = setting.batch_size, setting.device
    if min(images, batch_size, repeats, workers + 1) < 1:
        raise UserError(
            '--images, --batch-size and --repeats must be at least 1, --workers 0.'
        )
    given = dict(images=images, width=width, height=height, workers=workers)
    result = measure.begin('data', {**given, 'repeats': repeats, **vars(setting)})
    torch.set_num_threads(setting.threads)
    cv2.setNumThreads(setting.threads)
    step = Subject('vpt-deep', setting)
    clock = measure.clock_of(device, workers)
    result['seconds'] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_task(Path(folder), images, (height, width))
        for name, in_memory in (('in_memory', True), ('from_files', False)):
            batches = loader(folder, in_memory, batch_size, workers, device)
            runs: dict[str, Callable[[], object]]
            runs = {'batch': partial(next, batches), 'step': step.run}
            timed = measure.time_in_turns(runs, repeats, device)
            result['seconds'][name] = timed[clock]
    result['part_of_step'] = {
        name: statistics.median(
            a / b for a, b in zip(seconds['batch'], seconds['step'])
        )
        for name, seconds in result['seconds'].items()
    }
    kind = ' of the processor' if clock == 'processor' else ''
    summary = '\n'.join(
        f'{name.replace("_", " ")}: a batch of {batch_size} takes '
        f'{1e3 * statistics.median(result["seconds"][name]["batch"]):.1f} ms{kind}, '
        f'{100 * part:.2f} % of a training step'
        for name, part in result['part_of_step'].items()
    )
    return measure.finish(result, out, summary)


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


def loader(
    folder: str, in_memory: bool, batch_size: int, workers: int, device: str
) -> Iterator[Tensor]:
    """Yield normalised batches, (B, 3, height, width), one epoch after the other.

    Args:
        folder: As :func:`write_task` left it.
        in_memory: Whether decoded images are kept (``cache_images``).
        batch_size: Images of a batch.
        workers: Processes that read images.
        device: Where the batches go.
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
        batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(0),
        collate_fn=pseudo_collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=workers > 0 and device == 'cuda',
    )
    preprocess = ClsDataPreprocessor(**config.data_preprocessor).to(device)
    while True:
        for batch in batches:
            yield preprocess(batch, training=True)['inputs']
