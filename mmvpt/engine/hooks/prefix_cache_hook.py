# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Skip the frozen layers that have seen an image before."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmvpt.engine.forward import unwrapped
from mmvpt.errors import UserError
from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.models.vit.prefix_cache import PrefixCache, cacheable_layers
from mmvpt.registry import HOOKS


@HOOKS.register_module()
class PrefixCacheHook(Hook):
    """Computes the layers before the first tuned tensor once for each image.

    For data without augmentation (the protocol of VTAB-1k) and tuned tensors in late
    layers only, as ``DeepPrompt(layers=[9, 10, 11])`` or ``tunable='partial-2'``. What
    enters layer k is read from files afterwards, in training and validation, in this
    run, in those beside it and in later ones of the same backbone (a search). Outputs
    are those of the plain way but for the order of sums in another batch.

    Args:
        folder: Where the files go.
        max_gb: What the folder holds at most, in GB (1e9 bytes). Where it is full, what
            was kept first gives way; images of this run beyond it are computed each
            time, and a warning says so.

    Raises:
        UserError: At the start, if no layer can be skipped (a prompt or tuned tensor
            in the first layer, drop-path) or ``max_gb`` is not positive; after the
            second epoch, if images were kept and none came again (random transforms).
    """

    priority = 'LOW'  # after weights are loaded

    def __init__(self, folder: str = 'work_dirs/prefix_cache', max_gb: float = 8.0):
        if max_gb <= 0:
            raise UserError(f'max_gb must be positive, got {max_gb}.')
        self.folder, self.max_bytes = folder, int(max_gb * 1e9)

    def before_train(self, runner: Runner) -> None:
        """Switch the cache on."""
        backbone = self._backbone(runner)
        count = cacheable_layers(backbone)
        self.cache = PrefixCache(self.folder, count, self.max_bytes)
        backbone.prefix_cache = self.cache
        self._hits = self._misses = 0
        self._added = False
        runner.logger.info(
            f'PrefixCacheHook: {count} of {backbone.num_layers} layers run once for '
            f'each image; kept in {self.folder}.'
        )

    def before_train_iter(self, runner: Runner, batch_idx: int, **_: object) -> None:
        """Remember the counts, which validation moves too."""
        self._counts = self.cache.hits, self.cache.misses, self.cache.added

    def after_train_iter(self, runner: Runner, batch_idx: int, **_: object) -> None:
        """Warn when the cache is full; raise if what was added is never read again."""
        if self.cache.refused:
            runner.logger.warning(  # mmengine says it once
                f'PrefixCacheHook: {self.folder} is full ({self.max_bytes / 1e9:g} GB) '
                'of images of this run. Further images are computed each time: the '
                'same result, but slower. Raise max_gb.'
            )
        hits, misses, added = self._counts
        self._hits += self.cache.hits - hits
        self._added = self._added or self.cache.added > added
        if self._added:  # from then on, every image should be there the second time
            self._misses += self.cache.misses - misses
        size = len(runner.train_dataloader.dataset)
        if not self._hits and self._misses >= 2 * size:
            raise UserError(
                f'PrefixCacheHook: {self._misses} training images passed and none came '
                f'twice, though the data set has {size}. Random transforms make each '
                'one new: remove them from train_dataloader.dataset.pipeline, or '
                'remove the hook.'
            )

    def after_train(self, runner: Runner) -> None:
        """Say what it saved and switch it off."""
        total = self.cache.hits + self.cache.misses
        runner.logger.info(
            f'PrefixCacheHook: {self.cache.hits} of {total} images were read, '
            f'{self.cache.stored / 1e9:.2f} GB are kept in {self.folder}.'
        )
        self._backbone(runner).prefix_cache = None
        self.cache.close()

    def _backbone(self, runner: Runner) -> PromptedVisionTransformer:
        model = unwrapped(runner.model)
        found = [m for m in model.modules() if isinstance(m, PromptedVisionTransformer)]
        if len(found) != 1:
            raise UserError(
                'PrefixCacheHook needs one PromptedVisionTransformer, but the model '
                f'has {len(found)}. Remove the hook.'
            )
        return found[0]
