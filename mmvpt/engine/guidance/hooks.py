# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""DA-VPT in training: its metric losses, and when and how classes are grouped."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine import dist
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor, nn

from mmvpt.engine.forward import (
    ListeningHook,
    argument,
    trains,
    unwrapped,
    with_task_loss,
)
from mmvpt.errors import NotFiniteError, UserError, one_of
from mmvpt.models.prompts import DistributionAwarePrompt
from mmvpt.registry import HOOKS, MODELS

from . import clustering
from .class_pass import sum_over_classes, vectors
from .labels import LabelReader

VISUAL = {
    'patch': 'patch',
    'query': 'patch_query',
    'key': 'patch_key',
    'output': 'output',
    'output_patch': 'output_patch',
}
#: Where patches have labels: the same operands before the mean over patches.
PATCHES = {
    'patch': 'patches',
    'patch_query': 'patches_query',
    'patch_key': 'patches_key',
    'output_patch': 'output_patches',
}
PROMPT = {'raw': 'prompt', 'query': 'prompt_query', 'key': 'prompt_key'}
CLS = {'cls': 'cls', 'query': 'cls_query', 'key': 'cls_key'}
#: The paper's reading, and what the released code computes whatever its options say.
PAPER = dict(
    visual='output', prompt_for_visual='query', cls='query', prompt_for_cls='query'
)
RELEASED = dict(
    visual='patch', prompt_for_visual='raw', cls='query', prompt_for_cls='raw'
)


class GuidedHook(ListeningHook):
    """A hook that needs guided prompts and the classes of training images."""

    _labels: LabelReader | None = None  # None where none are wanted

    def find(self, runner: Runner) -> tuple[nn.Module, nn.Module]:
        """Return the model, not wrapped, and the backbone in it with guided prompts.

        Raises:
            UserError: If it has not exactly one ``DistributionAwarePrompt`` or no
                guided layer, the data has more classes than the map, or ranks may draw
                unequal batches.
        """
        name, model = type(self).__name__, unwrapped(runner.model)
        if sum(type(hook) is type(self) for hook in runner.hooks) > 1:
            raise UserError(
                f'the run has more than one {name}. Configs of DA-VPT have theirs in '
                'default_hooks (semantic_mapping, metric_guidance): change it there '
                'and leave it out of custom_hooks.'
            )
        found = [
            module
            for module in model.modules()
            if isinstance(getattr(module, 'prompt', None), DistributionAwarePrompt)
        ]
        if len(found) != 1:
            raise UserError(
                f'{name} needs one backbone with a DistributionAwarePrompt, but the '
                f'model has {len(found)}. Set model.backbone.prompt=dict(type='
                "'DistributionAwarePrompt', num_classes=...) or remove the hook."
            )
        prompt, loader = found[0].prompt, runner.train_dataloader
        if not prompt.guided_layers:
            raise UserError(
                f'{name} needs guided layers, but the prompt has none. Set '
                'guided_layers and num_guided_tokens of the prompt, or remove the hook.'
            )
        classes = (getattr(loader.dataset, 'metainfo', None) or {}).get('classes') or ()
        if len(classes) > prompt.num_classes:
            raise UserError(
                f'{name}: the training data has {len(classes)} classes, but the prompt '
                f'has num_classes={prompt.num_classes}. Set '
                f'backbone.prompt.num_classes to {len(classes)}.'
            )
        sampler = getattr(loader.batch_sampler, 'sampler', None)
        if dist.get_world_size() > 1 and getattr(sampler, 'round_up', True) is False:
            raise UserError(
                f'{name} compares the batches of all ranks, which must be equally '
                'large: set round_up=True in train_dataloader.sampler.'
            )
        return model, found[0]

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Check the labels of a batch where that costs no waiting, on the CPU."""
        if self._labels is not None:
            self._labels.check(data_batch)

    def read(self, args: tuple, kwargs: dict, patches: bool | None = None) -> Tensor:
        """Return the classes of what a model's ``forward`` was called with."""
        samples = argument('data_samples', 1, args, kwargs) or ()
        size = argument('inputs', 0, args, kwargs).shape[-2:]
        return self._labels.read(samples, size, patches)


@HOOKS.register_module()
class MetricGuidanceHook(GuidedHook):
    r"""Guide prompts to the distribution of classes by metric losses.

    To what a model's ``forward(mode='loss')`` returns it adds, over guided layers G,

    .. math::
        \frac{\beta}{|G|} \sum_{l \in G} \ell(X^l, P^l, \phi(y)), \qquad
        \frac{\lambda}{|G|} \sum_{l \in G} \ell(x_{cls}^l, P^l, \phi(y))

    as ``loss_metric_visual`` and ``loss_metric_cls``. Vectors X are one for each image,
    or with ``labels='patch'`` in the prompt one for each patch that has a class; CLS
    always has the image's. It works through torch forward hooks while training runs, so
    the model needs no subclass. Losses are computed in float32 (or wider) under
    autocast, and over the batch of all ranks, so that N processes train like one with
    the whole batch. A task loss named ``loss`` is renamed to ``loss_cls``, for the log
    to show the total under ``loss``.

    Source: `DA-VPT <https://arxiv.org/abs/2505.23694>`_, Eq. 5. Differences from the
    released code: docs/methods/davpt.md.

    Args:
        loss: Config of a loss called with vectors (B, C), proxies (M, C) and targets
            (B,); :class:`mmvpt.models.losses.ProxyAnchorLoss` by default. Vectors are
            those of all ranks. If it has ``cosines`` and ``from_cosines`` as that one,
            only cosines travel. It cannot have parameters: put what trains into the
            model.
        visual_weight: Weight of the visual term, beta; 0 leaves it out.
        cls_weight: Weight of the CLS term, lambda; 0 leaves it out.
        visual: Visual side: ``patch`` mean of patches entering the layer, ``query`` or
            ``key`` their mean projection; ``output`` attention output at the prompt
            that the image belongs to, ``output_patch`` its mean over patches. By
            default ``output``. If patches have labels, there is no mean, ``output``
            is refused and ``output_patch`` the default.
        prompt_for_visual: Prompt side of the visual term: ``raw`` the prompt, or its
            ``query`` or ``key``. By default ``query``.
        cls: CLS side: ``cls`` entering the layer, or its ``query`` or ``key``. By
            default ``query``.
        prompt_for_cls: Prompt side of the CLS term, as ``prompt_for_visual``.
        released: Take the released code's operands (``patch``, ``raw``, ``query``,
            ``raw``) and its loss (``positives='all'``) where none are given.

    Raises:
        UserError: For a value that is not allowed, or if both weights are 0.
    """

    def __init__(
        self,
        loss: dict | None = None,
        visual_weight: float = 0.01,
        cls_weight: float = 0.01,
        visual: str | None = None,
        prompt_for_visual: str | None = None,
        cls: str | None = None,
        prompt_for_cls: str | None = None,
        released: bool = False,
    ) -> None:
        super().__init__()
        if min(visual_weight, cls_weight) < 0 or visual_weight == cls_weight == 0:
            raise UserError(
                'visual_weight and cls_weight must not be negative nor both 0, got '
                f'{visual_weight!r} and {cls_weight!r}.'
            )
        self.visual_weight = visual_weight
        self.cls_weight = cls_weight
        defaults = RELEASED if released else PAPER
        positives = 'all' if released else 'present'
        self.loss_cfg = loss or dict(type='mmvpt.ProxyAnchorLoss', positives=positives)

        def operand(name: str, given: str | None, allowed: dict[str, str]) -> str:
            value = given or defaults[name]
            one_of(name, value, allowed)
            return allowed[value]

        self._output_asked = visual == 'output'
        visual = operand('visual', visual, VISUAL)
        visual_prompt = operand('prompt_for_visual', prompt_for_visual, PROMPT)
        cls = operand('cls', cls, CLS)
        cls_prompt = operand('prompt_for_cls', prompt_for_cls, PROMPT)
        #: Terms by name: weight, operand, operand of the prompts.
        self.terms: dict[str, tuple[float, str, str]] = {}
        if visual_weight:
            self.terms['visual'] = (visual_weight, visual, visual_prompt)
        if cls_weight:
            self.terms['cls'] = (cls_weight, cls, cls_prompt)
        #: Layers and their operands by name, None while nobody listens.
        self._records: list[tuple[int, dict[str, Tensor]]] | None = None

    def before_train(self, runner: Runner) -> None:
        """Check model, map and data, and start to listen."""
        name = type(self).__name__
        model, backbone = self.find(runner)
        if bool((backbone.prompt.class_to_prompt < 0).any()):
            raise UserError(
                f'{name}: some classes have no prompt yet. Add '
                "dict(type='mmvpt.SemanticMappingHook') before it to the hooks, or set "
                "mapping='balanced' or 'identity' in the prompt."
            )
        if self.cls_weight and backbone.cls_token is None:
            raise UserError(f'{name}: the backbone has no CLS token; set cls_weight=0.')
        self.attach(model, backbone)

    def attach(self, model: nn.Module, backbone: nn.Module) -> None:
        """Extend the losses of a model, not wrapped, until :meth:`detach`.

        Args:
            model: The model.
            backbone: The module in it that has the prompt and ``guide``.

        Raises:
            UserError: As :meth:`build`.
        """
        self._labels = LabelReader.of(model, backbone)
        self.build(backbone, self._labels.of_patches)
        self._handles += [
            model.register_forward_pre_hook(self._start, with_kwargs=True),
            model.register_forward_hook(self._extend, with_kwargs=True),
        ]

    def build(self, backbone: nn.Module, of_patches: bool = False) -> None:
        """Build the loss, and have the backbone hand out what it compares.

        A training step is :meth:`listen`, the forward pass, :meth:`losses`.

        Raises:
            UserError: If the loss has parameters, or patches have labels and an operand
                is none of a patch.
        """
        self._terms = self._per_patch() if of_patches else self.terms
        loss = MODELS.build(self.loss_cfg)
        if any(True for _ in loss.parameters()):
            raise UserError(
                f'{type(loss).__name__} has parameters, but no optimizer knows them.'
            )
        self._loss = loss.to(backbone.prompt.class_to_prompt.device)
        self._backbone = backbone
        reads = [name for _, *operands in self._terms.values() for name in operands]
        backbone.guide.reads = tuple(dict.fromkeys(reads))
        self._handles = [backbone.guide.register_forward_hook(self._record)]

    def detach(self) -> None:
        """Stop listening and leave the model as it was."""
        if self._handles:
            self._backbone.guide.reads = ()
            del self._backbone
        super().detach()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, *, outputs: dict | None = None, **_: Any
    ) -> None:
        """Look at the first losses; later ones are ``FiniteLossHook``'s business."""
        if batch_idx:
            return
        for key, value in (outputs or {}).items():
            value = torch.as_tensor(value)
            if key.startswith('loss_metric_') and not torch.isfinite(value):
                raise NotFiniteError(
                    f'{key} is {float(value)} in iteration {runner.iter + 1}. Look at '
                    'the prompts (a learning rate too high?) and at alpha and scale '
                    'of the loss.'
                )

    def listen(self, listening: bool = True) -> None:
        """Begin to note what guided layers hand out, or stop."""
        self._records = [] if listening else None

    def _start(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        self.listen(trains(module, args, kwargs))

    def _record(self, module: nn.Module, args: tuple, output: None) -> None:
        # Activation checkpointing calls again in backward: nobody listens then.
        if self._records is not None:
            self._records.append(args)

    def _extend(
        self, module: nn.Module, args: tuple, kwargs: dict, output: Any
    ) -> dict | None:
        """Add the metric losses to the losses that a model returned."""
        if self._records is None:
            return None
        prompt, targets = self._backbone.prompt, {}
        for name in self._terms:
            of_patches = self._labels.of_patches and name == 'visual'
            classes = self.read(args, kwargs, of_patches)
            targets[name] = prompt.assign(classes.to(prompt.class_to_prompt.device))
        return {**with_task_loss(output), **self.losses(targets)}

    def losses(self, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the metric losses of the last forward pass, by name.

        Args:
            targets: For each term the prompts that this rank's vectors belong to, (B,)
                or (B, N), -1 for none.

        Raises:
            UserError: If a guided layer is missing or ran twice, or nothing has a
                gradient.
        """
        prompt, records = self._backbone.prompt, self._records or []
        self.listen(False)
        layers = sorted(layer for layer, _ in records)
        if layers != list(prompt.guided_layers):
            raise UserError(
                f'guided layers are {list(prompt.guided_layers)}, but in one forward '
                f'pass the layers {layers} spoke up. The backbone must run once, in '
                'training mode.'
            )
        losses = {}
        with torch.autocast(prompt.class_to_prompt.device.type, enabled=False):
            for name, (weight, operand, proxies) in self._terms.items():
                own = targets[name]
                # Crops of another size on another rank have another number of patches.
                sizes = gather_sizes(own.flatten()) if own.dim() == 2 else None
                of_all = gather_batch(own.flatten(), sizes)
                values = [
                    self._compare(record, operand, proxies, own, of_all, sizes)
                    for _, record in records
                ]
                loss = weight * sum(values) / len(values)
                if torch.is_grad_enabled() and not loss.requires_grad:
                    raise UserError(
                        f'loss_metric_{name} has no gradient. If activation_'
                        'checkpointing names the backbone, remove it there and set '
                        'with_cp=True in the backbone instead.'
                    )
                losses[f'loss_metric_{name}'] = loss
        return losses

    def _per_patch(self) -> dict[str, tuple[float, str, str]]:
        """Return the terms with each patch in place of their mean."""
        terms = dict(self.terms)
        if 'visual' in terms:
            weight, operand, prompt = terms['visual']
            if operand == 'output' and self._output_asked:
                raise UserError(
                    "visual='output' is the attention output at a prompt, but with "
                    "labels='patch' in the prompt each patch has a label. Leave visual "
                    "out or set it to 'output_patch', 'patch', 'query' or 'key'."
                )
            operand = 'output_patch' if operand == 'output' else operand
            terms['visual'] = (weight, PATCHES[operand], prompt)
        return terms

    def _compare(
        self,
        record: dict[str, Tensor],
        operand: str,
        prompt: str,
        own: Tensor,  # prompts that the vectors of this rank belong to
        of_all: Tensor,  # the same of all ranks, in one row
        sizes: tuple[int, ...] | None,  # rows of each rank, None if equal
    ) -> Tensor:
        """Return the loss of one operand of one layer, a scalar."""
        x, proxies = map(at_least_float32, (record[operand], record[prompt]))
        if operand == 'output':
            rows = torch.arange(len(x), device=x.device)
            x = x[rows, own.clamp(min=0)]
        x = x.flatten(0, -2)
        knows_cosines = hasattr(self._loss, 'from_cosines')
        if prompt != 'prompt' and self._backbone.prompt.dropout.p > 0:
            # The mean over the batch of this rank: take that over all ranks.
            proxies = gather_batch(proxies[None]).mean(dim=0)
        elif knows_cosines:  # proxies are equal on all ranks, so cosines are enough
            cosines = gather_batch(self._loss.cosines(x, proxies), sizes)
            return self._loss.from_cosines(cosines, of_all)
        x = gather_batch(x, sizes)
        if not knows_cosines:  # nor what a target of -1 is
            x, of_all = x[of_all >= 0], of_all[of_all >= 0]
            if not len(x):
                return 0 * (x.sum() + proxies.sum())
        return self._loss(x, proxies, of_all)


@HOOKS.register_module()
class SemanticMappingHook(GuidedHook):
    r"""Group classes by k-means and give each guided prompt a group.

    Before training the un-prompted frozen ViT goes once over the training data; its
    class means are clustered into M groups, which is the first map. While training
    runs, means of the model's own features are kept, and from time to time k-means
    starts again from the last centroids. Classes without images since the last update
    keep their prompt. Should all classes fall into one group, the map stays. Features
    are those of images, or with ``labels='patch'`` in the prompt those of patches.

    All state is in buffers of the prompt. Features are summed over all ranks in every
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
        UserError: For a value that is not allowed.
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
        super().__init__()
        if interval < 1 or begin < 0 or max_iters < 1:
            raise UserError(
                'interval and max_iters must be at least 1 and begin at least 0, got '
                f'{interval}, {max_iters} and {begin}'
            )
        if isinstance(pipeline, str) and pipeline not in ('eval', 'train'):
            raise UserError(
                f"pipeline must be 'eval', 'train' or a list, got {pipeline!r}"
            )
        one_of('normalize', normalize, clustering.NORMALIZE)
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
        self._seen: dict[str, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Make the first map, unless a checkpoint brought one."""
        name = type(self).__name__
        model, backbone = self.find(runner)
        prompt = backbone.prompt
        if prompt.map_is_fixed:
            runner.logger.info(
                f'{name}: the map is fixed (mapping={prompt.mapping!r}).'
            )
            return
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise UserError(
                f'{name}: training counts iterations, so no epoch ends. Set '
                'by_epoch=False and interval to a number of iterations.'
            )
        if backbone.out_type == 'raw':
            raise UserError(
                f"{name} needs a feature for each image, but out_type='raw' gives "
                "tokens. Set out_type='cls_token' or 'featmap'."
            )
        self._labels = LabelReader.of(model, backbone)
        if self._labels.of_patches and backbone.out_type != 'featmap':
            raise UserError(
                f"{name}: with labels='patch' in the prompt it needs features of "
                f"patches, but out_type={backbone.out_type!r}. Set out_type='featmap'."
            )
        self._prompt = prompt
        seed = torch.tensor(runner.seed)
        dist.broadcast(seed)
        self._seed = int(seed)
        if bool((prompt.class_to_prompt < 0).any()):
            start = time.monotonic()
            runner.logger.info(f'{name}: reading the training data for the first map.')
            sum_over_classes(runner, backbone, **self.first_pass, seed=self._seed)
            self._update(runner, start)
        else:
            runner.logger.info(f'{name}: the map came with the checkpoint.')
        self._handles = [
            model.register_forward_pre_hook(self._start, with_kwargs=True),
            backbone.register_forward_hook(self._note),
        ]

    def after_train_iter(self, runner: Runner, batch_idx: int, **_: Any) -> None:
        """Count the features of an iteration; update the map if it is time."""
        if self._prompt is None:
            return
        if 'features' not in self._seen:
            raise UserError(
                'SemanticMappingHook saw no features: the backbone did not run in '
                'training mode.'
            )
        features, classes = self._seen['features'], self._seen['classes']
        self._seen.clear()
        if (runner.epoch if self.by_epoch else runner.iter) < self.begin:
            return
        self._count(at_least_float32(features), classes.to(features.device))
        if not self.by_epoch and (runner.iter + 1) % self.interval == 0:
            self._update(runner, time.monotonic())

    def after_train_epoch(self, runner: Runner) -> None:
        """Update the map if it is time."""
        due = runner.epoch - self.begin
        if self._prompt is None or not self.by_epoch or due < 0:
            return
        if due % self.interval == 0:
            self._update(runner, time.monotonic())

    def detach(self) -> None:
        """Stop listening to the model."""
        super().detach()
        self._prompt = None
        self._seen.clear()

    def _start(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        if trains(module, args, kwargs):
            self._seen = dict(classes=self.read(args, kwargs))

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
        if dist.get_world_size() == 1:
            clustering.add_to_classes(sums, counts, features, classes)
            return
        # Ranks may have unlike numbers of patches: sum first, then over ranks.
        found = torch.zeros_like(sums), torch.zeros_like(counts)
        clustering.add_to_classes(*found, features, classes)
        for total, of_rank in zip((sums, counts), found):
            dist.all_reduce(of_rank)
            total += of_rank

    @torch.no_grad()
    def _update(self, runner: Runner, start: float) -> None:
        """Cluster class means on one rank, give the result to all, and start anew."""
        prompt = self._prompt
        old = prompt.class_to_prompt.cpu().clone()
        new, centroids = old.clone(), prompt.centroids.cpu().clone()
        sums, counts = prompt.class_sums.cpu(), prompt.class_counts.cpu()
        if bool((old < 0).any()):
            enough(counts, prompt.num_guided_tokens)
        if dist.is_main_process():
            generator = torch.Generator().manual_seed(self._seed + runner.iter)
            new, centroids = self.cluster(sums, counts, old, centroids, generator)
        dist.broadcast(new)
        dist.broadcast(centroids)
        prompt.class_to_prompt.copy_(new)
        prompt.centroids.copy_(centroids)
        self._report(runner, old, new, counts, time.monotonic() - start)
        prompt.class_sums.zero_()
        prompt.class_counts.zero_()

    def cluster(
        self,
        sums: Tensor,
        counts: Tensor,
        old: Tensor,
        centroids: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Group classes: return the new map and centroids, or the old ones.

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


def enough(counts: Tensor, num_prompts: int) -> None:
    """Refuse a first map of fewer classes with images than there are prompts.

    Args:
        counts: Numbers of features, (num_classes,).
        num_prompts: Guided prompts of a layer.
    """
    seen = int((counts > 0).sum())
    if seen < num_prompts:
        raise UserError(
            f'{seen} classes have training images, fewer than the {num_prompts} guided '
            "prompts. Use fewer prompts, or mapping='balanced' or 'identity' in the "
            'prompt.'
        )


def gather_batch(x: Tensor, sizes: tuple[int, ...] | None = None) -> Tensor:
    """Return the rows (B, ...) of all ranks, with gradients as for one large batch.

    Every rank then computes the same loss of the whole batch, and gradients are
    averaged over R ranks by distributed training. So what arrives at the rows of this
    rank is complete but for a factor R, and nothing is communicated.

    Args:
        x: Rows of this rank.
        sizes: Number of rows of each rank; None if it is the same on all.
    """
    ranks = dist.get_world_size()
    if ranks == 1:
        return x
    sizes = sizes or (len(x),) * ranks
    padding = x.new_zeros(max(sizes) - len(x), *x.shape[1:])
    gathered = dist.all_gather(torch.cat([x.detach(), padding]))
    rows = [part[:size] for part, size in zip(gathered, sizes)]
    rows[dist.get_rank()] = x + (ranks - 1) * (x - x.detach())  # x, its gradient R
    return torch.cat(rows)


def gather_sizes(x: Tensor) -> tuple[int, ...]:
    """Return how many rows ``x`` has on each rank. Waits for the accelerator."""
    size = torch.tensor(len(x), device=x.device)
    return tuple(int(n) for n in dist.all_gather(size))


def at_least_float32(x: Tensor) -> Tensor:
    """Return half precision as float32, anything else as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
