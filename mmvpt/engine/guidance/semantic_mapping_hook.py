# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""When and how classes are grouped for DA-VPT."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor, nn

from mmvpt.registry import HOOKS

from . import clustering
from .class_pass import sum_over_classes, vectors
from .guided import argument, at_least_float32, check_data, guided_backbone, unwrapped
from .labels import LabelReader


@HOOKS.register_module()
class SemanticMappingHook(Hook):
    r"""Group classes by k-means and give each guided prompt a group.

    Before training the un-prompted frozen ViT goes once over the training data; its
    class means are clustered into M groups, which is the first map. While training
    runs, means of the model's own features are kept, and from time to time k-means
    starts again from the last centroids. Classes without images since the last update
    keep their prompt. Should all classes fall into one group, the map stays. Features
    are those of images, or with ``labels='patch'`` in the prompt those of patches.

    All state is in buffers of the prompt. Features of all ranks are gathered in every
    iteration, so that every checkpoint is complete, and one rank clusters for all. A
    resumed run goes on as if nothing had happened, and a map that came with a
    checkpoint is kept. Prompts whose map is fixed are left alone.

    Each update is logged and appended to ``class_to_prompt.jsonl`` in the log folder:
    epoch, iter, the map, classes moved, sizes of the groups, classes not seen, seconds.

    Source: `DA-VPT <https://arxiv.org/abs/2505.23694>`_, section 3.2. Differences from
    the released code: docs/methods/davpt.md.

    Args:
        interval: Epochs or iterations between updates.
        by_epoch: Whether ``interval`` and ``begin`` count epochs.
        begin: The first epoch (from 0) at whose end the map is updated; or the first
            iteration. Features before it do not count.
        samples_per_class: Training images of each class in the first pass; None for
            all, as in the paper.
        pipeline: Of the first pass: ``eval`` that of validation, or of test if there is
            none; ``train``; or a list of transforms. By default ``train`` if the data
            have masks (mmseg's validation keeps masks at another size than images),
            else ``eval``.
        batch_size: Of the first pass, by default that of training.
        max_images: Of the first pass, drawn at random; None for no limit.
        normalize: What is done to class means: ``layer`` (mean 0 and variance 1),
            ``l2`` or ``none``.
        max_iters: Steps of k-means, at most.
        tolerance: Movement of centroids at which k-means ends.
        released: Do as the released code where that is an accident: the first pass
            norms after pooling; classes not seen get a random prompt at each update;
            centroids are forgotten when all classes fall into one group. Its other
            settings are ``samples_per_class=10, pipeline='train'`` and ``begin`` 1
            or 10.

    Raises:
        ValueError: For a value that is not allowed.
    """

    # Before the checkpoint is saved, and before MetricGuidanceHook asks for the map.
    priority = 'ABOVE_NORMAL'

    def __init__(
        self,
        interval: int = 1,
        by_epoch: bool = True,
        begin: int = 0,
        samples_per_class: int | None = None,
        pipeline: str | Sequence[dict] | None = None,
        batch_size: int | None = None,
        max_images: int | None = None,
        normalize: str = 'layer',
        max_iters: int = 20,
        tolerance: float = 1e-4,
        released: bool = False,
    ) -> None:
        if interval < 1 or begin < 0 or max_iters < 1:
            raise ValueError(
                'interval and max_iters must be at least 1 and begin at least 0, got '
                f'{interval}, {max_iters} and {begin}'
            )
        if isinstance(pipeline, str) and pipeline not in ('eval', 'train'):
            raise ValueError(
                f"pipeline must be 'eval', 'train' or a list, got {pipeline!r}"
            )
        if normalize not in clustering.NORMALIZE:
            raise ValueError(
                f'normalize must be one of {clustering.NORMALIZE}, got {normalize!r}'
            )
        self.interval = interval
        self.by_epoch = by_epoch
        self.begin = begin
        self.first_pass: dict[str, Any] = dict(
            samples_per_class=samples_per_class,
            max_images=max_images,
            pipeline=pipeline,
            batch_size=batch_size,
            norm_last=released,
        )
        self.normalize = normalize
        self.max_iters = max_iters
        self.tolerance = tolerance
        self.released = released
        self._prompt: Any = None
        self._handles: list = []
        self._seen: dict[str, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Make the first map, unless a checkpoint brought one.

        Args:
            runner: The runner.

        Raises:
            ValueError: If the model has no guided layer, returns tokens instead of
                features, too few classes have images, or training has no epochs.
        """
        name = type(self).__name__
        model = unwrapped(runner.model)
        backbone = guided_backbone(model, name)
        if backbone.prompt.map_is_fixed:
            runner.logger.info(
                f'{name}: the map is fixed (mapping={backbone.prompt.mapping!r}).'
            )
            return
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError(
                f'{name}: training counts iterations, so no epoch ends. Set '
                'by_epoch=False and interval to a number of iterations.'
            )
        if backbone.out_type == 'raw':
            raise ValueError(
                f"{name} needs a feature for each image, but out_type='raw' gives "
                "tokens. Set out_type='cls_token' or 'featmap'."
            )
        self._labels = LabelReader(model, backbone)
        if self._labels.of_patches and backbone.out_type != 'featmap':
            raise ValueError(
                f"{name}: with labels='patch' in the prompt it needs features of "
                f"patches, but out_type={backbone.out_type!r}. Set out_type='featmap'."
            )
        check_data(runner, backbone.prompt.num_classes, name)
        self._prompt = backbone.prompt
        seed = torch.tensor(runner.seed)
        dist.broadcast(seed)
        self._seed = int(seed)
        if bool((self._prompt.class_to_prompt < 0).any()):
            start = time.monotonic()
            runner.logger.info(f'{name}: reading the training data for the first map.')
            sums, counts = sum_over_classes(
                *(runner, backbone, self._prompt.num_classes),
                **self.first_pass,
                seed=self._seed,
            )
            self._update(runner, sums, counts, start)
        else:
            runner.logger.info(f'{name}: the map came with the checkpoint.')
        self._handles = [
            model.register_forward_pre_hook(self._start, with_kwargs=True),
            backbone.register_forward_hook(self._note),
        ]

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Check the labels of a batch where that costs no waiting, on the CPU.

        Args:
            runner: The runner.
            batch_idx: Not used.
            data_batch: The batch as the data loader returned it.

        Raises:
            ValueError: If labels are missing or beyond the map, or a mask and its image
                differ in size.
        """
        if self._prompt is not None:
            self._labels.check(data_batch)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Count the features of an iteration; update the map if it is time.

        Args:
            runner: The runner.
            batch_idx: Not used.
            data_batch: Not used; labels are read as the model got them.
            outputs: Not used.

        Raises:
            RuntimeError: If the backbone did not run in training mode.
        """
        if self._prompt is None:
            return
        if 'features' not in self._seen:
            raise RuntimeError(
                'SemanticMappingHook saw no features: the backbone did not run in '
                'training mode.'
            )
        features, classes = self._seen['features'], self._seen['classes']
        self._seen.clear()
        if (runner.epoch if self.by_epoch else runner.iter) < self.begin:
            return
        self._count(at_least_float32(features), classes.to(features.device))
        if not self.by_epoch and (runner.iter + 1) % self.interval == 0:
            self._update_from_training(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Update the map if it is time.

        Args:
            runner: The runner.
        """
        due = runner.epoch - self.begin
        if self._prompt is None or not self.by_epoch or due < 0:
            return
        if due % self.interval == 0:
            self._update_from_training(runner)

    def after_train(self, runner: Runner) -> None:
        """Stop listening.

        Args:
            runner: The runner.
        """
        for handle in self._handles:
            handle.remove()
        self._prompt, self._handles = None, []
        self._seen.clear()

    def _start(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        if module.training and argument('mode', 2, args, kwargs) == 'loss':
            samples = argument('data_samples', 1, args, kwargs)
            size = argument('inputs', 0, args, kwargs).shape[-2:]
            self._seen = dict(classes=self._labels.read(samples or (), size))

    def _note(self, module: nn.Module, args: tuple, output: Any) -> None:
        # The first call is the forward pass; activation checkpointing may call again.
        if module.training and 'features' not in self._seen:
            found = vectors(output, self._labels.of_patches)
            self._seen['features'] = found.detach()

    @torch.no_grad()
    def _count(self, features: Tensor, classes: Tensor) -> None:
        """Add the features of all ranks to the sums of their classes."""
        prompt = self._prompt
        sums, counts = prompt.class_sums, prompt.class_counts
        if self._labels.of_patches:
            # Ranks may have unlike numbers of patches: sum first, then over ranks.
            sums, counts = torch.zeros_like(sums), torch.zeros_like(counts)
            classes = clustering.members(classes.flatten(), prompt.num_classes)
            clustering.add_to_classes(sums, counts, features, classes)
            dist.all_reduce(sums)
            dist.all_reduce(counts)
            prompt.class_sums += sums
            prompt.class_counts += counts
            return
        if dist.get_world_size() > 1:
            if classes.dtype != torch.bool:
                # One rank's images may have several classes each and another's one.
                classes = clustering.members(classes, prompt.num_classes)
            # Not every backend gathers booleans.
            classes = torch.cat(dist.all_gather(classes.to(torch.uint8))).bool()
            features = torch.cat(dist.all_gather(features.contiguous()))
        clustering.add_to_classes(sums, counts, features, classes)

    def _update_from_training(self, runner: Runner) -> None:
        prompt = self._prompt
        self._update(runner, prompt.class_sums, prompt.class_counts, time.monotonic())
        prompt.class_sums.zero_()
        prompt.class_counts.zero_()

    @torch.no_grad()
    def _update(
        self, runner: Runner, sums: Tensor, counts: Tensor, start: float
    ) -> None:
        """Cluster class means on one rank, give the result to all, and report."""
        prompt = self._prompt
        old = prompt.class_to_prompt.cpu().clone()
        new, centroids = old.clone(), prompt.centroids.cpu().clone()
        sums, counts = sums.cpu(), counts.cpu()
        if bool((old < 0).any()) and int((counts > 0).sum()) < prompt.num_guided_tokens:
            raise ValueError(
                f'SemanticMappingHook: {int((counts > 0).sum())} classes have training '
                f'images, fewer than the {prompt.num_guided_tokens} guided prompts. '
                "Use fewer prompts, or mapping='balanced' or 'identity' in the prompt."
            )
        if dist.is_main_process():
            generator = torch.Generator()
            generator.manual_seed(self._seed + runner.iter)
            new, centroids = self._cluster(sums, counts, old, centroids, generator)
        dist.broadcast(new)
        dist.broadcast(centroids)
        prompt.class_to_prompt.copy_(new)
        prompt.centroids.copy_(centroids)
        self._report(runner, old, new, counts, time.monotonic() - start)

    def _cluster(
        self,
        sums: Tensor,
        counts: Tensor,
        old: Tensor,
        centroids: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Return the new map and centroids, or the old ones.

        Args:
            sums: Sums of features, (num_classes, C).
            counts: Numbers of features, (num_classes,).
            old: The last map, (num_classes,), -1 where there is none.
            centroids: The last centroids, (M, C), all zero if there are none.
            generator: Draws what is random.
        """
        num_prompts = len(centroids)
        seen = counts > 0
        rows = clustering.class_means(sums, counts)[seen].double()
        rows = clustering.normalize_rows(rows, self.normalize)
        started = bool(centroids.any())
        if not len(rows) or (not started and len(rows) < num_prompts):
            return old, centroids
        clusters, found = clustering.cosine_kmeans(
            rows,
            num_prompts,
            centroids.double() if started else None,
            max_iters=self.max_iters,
            tolerance=self.tolerance,
            generator=generator,
        )
        in_one = num_prompts > 1 and bool((clusters == clusters[0]).all())
        if in_one and bool((old >= 0).all()):
            return old, torch.zeros_like(centroids) if self.released else centroids
        new = old.clone()
        new[seen] = clusters
        drawn = torch.randint(num_prompts, old.shape, generator=generator)
        unknown = ~seen if self.released else new < 0
        return torch.where(unknown, drawn, new), found

    def _report(
        self, runner: Runner, old: Tensor, new: Tensor, counts: Tensor, seconds: float
    ) -> None:
        """Log the update and append it to the history."""
        moved = int((old != new).sum())
        sizes = torch.bincount(new, minlength=self._prompt.num_guided_tokens)
        unseen = int((counts == 0).sum())
        runner.logger.info(
            f'Classes to prompts: {moved} of {len(old)} classes moved, group sizes '
            f'{sizes.min()} to {sizes.max()} ({int((sizes == 0).sum())} empty), '
            f'{unseen} classes not seen, {seconds:.3f} s.'
        )
        if not dist.is_main_process():
            return
        runner.visualizer.add_scalars(
            {'mapping/moved': moved, 'mapping/largest': int(sizes.max())},
            step=runner.iter,
        )
        row = dict(
            epoch=runner.epoch,
            iter=runner.iter,
            map=new.tolist(),
            moved=moved,
            sizes=sizes.tolist(),
            unseen=unseen,
            seconds=seconds,
        )
        with open(Path(runner.log_dir) / 'class_to_prompt.jsonl', 'a') as file:
            file.write(json.dumps(row) + '\n')
