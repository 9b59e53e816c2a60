# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Label maps as files, one for each image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from PIL import Image

from mmvpt.files import write_whole
from mmvpt.registry import METRICS

from .image_files import as_png, distinct_names


@METRICS.register_module()
class LabelMaps(BaseMetric):
    """Write what a segmentor predicts as PNG files, the index of its class per pixel.

    A map has the name of its image; where images in different folders have the same
    name, it lies in these folders below ``out``. With ``reduce_zero_label`` 1 is the
    first class, as in the masks. No numbers are computed.

    Args:
        out: Their folder.
        images: Paths of all images that will be predicted.
    """

    def __init__(self, out: str | os.PathLike, images: Sequence[str]) -> None:
        super().__init__()
        self.out = Path(out)
        self.names = distinct_names(images)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Write the maps of a batch.

        Args:
            data_batch: Not read.
            data_samples: The predictions, with ``pred_sem_seg`` (1, H, W).
        """
        for sample in data_samples:
            found = sample['pred_sem_seg']['data'].squeeze().cpu().numpy()
            found = found + int(bool(sample.get('reduce_zero_label')))
            found = found.astype(np.uint8 if found.max() < 256 else np.uint16)
            stem = os.path.splitext(self.names[sample['img_path']])[0]
            png = as_png(Image.fromarray(found))
            write_whole(self.out / f'{stem}.png', png, durable=False)
            self.results.append(None)

    def compute_metrics(self, results: list) -> dict:
        """Return nothing."""
        return {}
