# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Images are normalised as the backbone was pretrained, or the config says not."""

from __future__ import annotations

import logging

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmvpt.checkpoint.tuned import normalization as preprocessing
from mmvpt.engine.forward import unwrapped
from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.registry import HOOKS
from mmvpt.weights import Normalization, as_normalization, normalization


@HOOKS.register_module()
class NormalizationHook(Hook):
    """Warn if images are normalised neither as in pretraining nor as stated.

    ``init_cfg.checkpoint`` of the backbone tells what it was pretrained with, if it is
    a known name or a converted file; ``init_cfg.normalization`` states another choice,
    as VPT's protocol makes for ImageNet-21k. The data preprocessor is compared with it.
    Nothing is changed.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare and perhaps warn."""
        model = unwrapped(runner.model)
        found = preprocessing(model)
        used = Normalization(*map(tuple, found.values())) if found else None
        for module in model.modules():
            config = getattr(module, 'init_cfg', None)
            if not isinstance(module, PromptedVisionTransformer) or not config:
                continue
            if config['type'] != 'Pretrained':
                continue
            checkpoint, stated = config['checkpoint'], config.get('normalization')
            wanted = as_normalization(stated) if stated else normalization(checkpoint)
            if wanted is None or (used is not None and wanted.is_close(used)):
                continue
            origin = 'init_cfg states' if stated else 'was pretrained with'
            runner.logger.log(
                logging.WARNING,
                f'{checkpoint}: {origin} {wanted}, but the data preprocessor has '
                f'{used or "no mean and std"}. Change data_preprocessor, or state the '
                'choice in model.backbone.init_cfg.normalization.',
            )

    before_test = before_train
