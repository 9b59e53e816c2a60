# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""All ranks validate the model that the checkpoint holds."""

from __future__ import annotations

from mmengine import dist
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmvpt.registry import HOOKS


@HOOKS.register_module()
class EqualBuffersHook(Hook):
    """Give all ranks the buffers of rank 0 before they validate.

    Where each process has norms of its own (``BN``, which stands in for ``SyncBN``
    without a GPU), their running statistics differ between ranks, and a checkpoint
    holds those of rank 0. Validation would then mix models, and its figures would be
    neither those of the checkpoint nor those of a resumed run. Without several
    processes, and where buffers are equal anyway, it changes nothing.
    """

    def before_val_epoch(self, runner: Runner) -> None:
        """Broadcast."""
        if dist.get_world_size() == 1:
            return
        for buffer in runner.model.buffers():
            dist.broadcast(buffer)
