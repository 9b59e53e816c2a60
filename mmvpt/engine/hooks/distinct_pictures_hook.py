# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Pictures of test results, of which none takes the place of another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mmengine.runner import Runner
from mmpretrain.engine.hooks import VisualizationHook

from mmvpt.datasets.image_files import distinct_names
from mmvpt.engine.data_checks import image_paths
from mmvpt.registry import HOOKS


@HOOKS.register_module()
class DistinctPicturesHook(VisualizationHook):
    """mmpretrain's hook, which calls a picture as its image is called.

    Where images in different folders have the same name, as in class folders, their
    pictures lie in these folders below ``out_dir``. ``tools/test.py --show-dir`` takes
    this hook. Arguments are those of ``VisualizationHook``.
    """

    def before_test(self, runner: Runner) -> None:
        """Look at the names of all images.

        Args:
            runner: The runner.
        """
        self.names = distinct_names(image_paths(runner.cfg, 'test'))
        self.drawn = 0

    def _draw_samples(
        self, batch_idx: int, data_batch: dict, data_samples: Sequence, step: int = 0
    ) -> None:
        folder: Any = self.out_dir
        for i, sample in enumerate(data_samples):
            if folder is not None:
                name = self.names.get(sample.get('img_path'), '')
                self.out_dir = os.path.join(folder, os.path.dirname(name))
            image = dict(inputs=data_batch['inputs'][i : i + 1])
            super()._draw_samples(self.drawn, image, [sample], step)
            self.drawn += 1
        self.out_dir = folder
