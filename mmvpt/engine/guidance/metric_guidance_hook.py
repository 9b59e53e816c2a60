# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The metric losses of DA-VPT, for any OpenMMLab model."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmvpt.registry import HOOKS, MODELS

from .guided import (
    argument,
    at_least_float32,
    check_data,
    gather_batch,
    gather_sizes,
    guided_backbone,
    unwrapped,
)
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


class Targets(NamedTuple):
    """The prompts that vectors belong to, -1 for none."""

    own: Tensor  # of this rank, (B,) or (B, N)
    of_all: Tensor  # of all ranks, in one row
    sizes: tuple[int, ...] | None  # rows of each rank, None if equal


@HOOKS.register_module()
class MetricGuidanceHook(Hook):
    r"""Guide prompts to the distribution of classes by metric losses.

    To what a model's ``forward(mode='loss')`` returns it adds, over guided layers G,

    .. math::
        \frac{\beta}{|G|} \sum_{l \in G} \ell(X^l, P^l, \phi(y)), \qquad
        \frac{\lambda}{|G|} \sum_{l \in G} \ell(x_{cls}^l, P^l, \phi(y))

    as ``loss_metric_visual`` and ``loss_metric_cls``. Vectors X are one for each image,
    or with ``labels='patch'`` in the prompt one for each patch that has a class; CLS
    always has the image's. It works through torch forward
    hooks while training runs, so the model needs no subclass. Losses are computed in
    float32 (or wider) under autocast, and over the batch of all ranks, so that N
    processes train like one with the whole batch. A task loss named ``loss`` is
    renamed to ``loss_cls``, for the log to show the total under ``loss``.

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
        ValueError: For a value that is not allowed, or if both weights are 0.
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
        if min(visual_weight, cls_weight) < 0 or visual_weight == cls_weight == 0:
            raise ValueError(
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
            if value not in allowed:
                raise ValueError(
                    f'{name} must be one of {tuple(allowed)}, got {value!r}'
                )
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
        self._handles: list = []
        self._records: list[tuple[int, dict[str, Tensor]]] = []
        self._listening = False

    def before_train(self, runner: Runner) -> None:
        """Check model, map and data, and start to listen.

        Args:
            runner: The runner.

        Raises:
            ValueError: If the model has no guided layer or no CLS token that a term
                reads, a class has no prompt, the data has more classes than the map,
                or the loss has parameters.
        """
        name = type(self).__name__
        model = unwrapped(runner.model)
        backbone = guided_backbone(model, name)
        check_data(runner, backbone.prompt.num_classes, name)
        if bool((backbone.prompt.class_to_prompt < 0).any()):
            raise ValueError(
                f'{name}: some classes have no prompt yet. Add '
                "dict(type='mmvpt.SemanticMappingHook') before it to custom_hooks, or "
                "set mapping='balanced' or 'identity' in the prompt."
            )
        if self.cls_weight and backbone.cls_token is None:
            raise ValueError(
                f'{name}: the backbone has no CLS token; set cls_weight=0.'
            )
        self.attach(model, backbone)

    def attach(self, model: nn.Module, backbone: nn.Module) -> None:
        """Listen to a model until :meth:`detach`.

        Args:
            model: The model whose losses are extended, not wrapped.
            backbone: The module in it that has the prompt and ``guide``.

        Raises:
            ValueError: If the loss has parameters, or patches have labels and an
                operand is none of a patch.
        """
        self._labels = LabelReader(model, backbone)
        self._terms = self._per_patch() if self._labels.of_patches else self.terms
        loss = MODELS.build(self.loss_cfg)
        if any(True for _ in loss.parameters()):
            raise ValueError(
                f'{type(loss).__name__} has parameters, but no optimizer knows them.'
            )
        self._loss = loss.to(next(model.parameters()).device)
        self._backbone = backbone
        reads = [name for _, *operands in self._terms.values() for name in operands]
        backbone.guide.reads = tuple(dict.fromkeys(reads))
        self._handles = [
            model.register_forward_pre_hook(self._start, with_kwargs=True),
            backbone.guide.register_forward_hook(self._record),
            model.register_forward_hook(self._extend, with_kwargs=True),
        ]

    def detach(self) -> None:
        """Stop listening and leave the model as it was."""
        for handle in self._handles:
            handle.remove()
        if self._handles:
            self._backbone.guide.reads = ()
            del self._backbone
        self._handles = []

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
        self._labels.check(data_batch)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Look at the first losses; later ones are ``FiniteLossHook``'s business.

        Args:
            runner: The runner.
            batch_idx: Index of the batch in the epoch.
            data_batch: Not used.
            outputs: Logged values of the iteration.

        Raises:
            FloatingPointError: If a metric loss is not finite.
        """
        if batch_idx:
            return
        for key, value in (outputs or {}).items():
            if key.startswith('loss_metric_') and not torch.isfinite(
                torch.as_tensor(value)
            ):
                raise FloatingPointError(
                    f'{key} is {float(value)} in iteration {runner.iter + 1}. Look at '
                    'the prompts (a learning rate too high?) and at alpha and scale '
                    'of the loss.'
                )

    def after_train(self, runner: Runner) -> None:
        """Stop listening.

        Args:
            runner: The runner.
        """
        self.detach()

    def _start(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        self._records.clear()
        self._listening = argument('mode', 2, args, kwargs) == 'loss'

    def _record(self, module: nn.Module, args: tuple, output: None) -> None:
        # Activation checkpointing calls again in backward: nobody listens then.
        if self._listening:
            self._records.append(args)

    def _extend(
        self, module: nn.Module, args: tuple, kwargs: dict, output: Any
    ) -> dict | None:
        """Add the metric losses to the losses that a model returned."""
        self._listening = False
        records = list(self._records)
        self._records.clear()
        training = self._backbone.training
        if not training or argument('mode', 2, args, kwargs) != 'loss':
            return None
        prompt = self._backbone.prompt
        layers = sorted(layer for layer, _ in records)
        if layers != list(prompt.guided_layers):
            raise RuntimeError(
                f'guided layers are {list(prompt.guided_layers)}, but in one forward '
                f'pass the layers {layers} spoke up. The backbone must run once, in '
                'training mode.'
            )
        targets = self._targets(args, kwargs)
        losses = dict(output)
        if 'loss' in losses and 'loss_cls' not in losses:
            losses['loss_cls'] = losses.pop('loss')
        with torch.autocast(prompt.class_to_prompt.device.type, enabled=False):
            for name, (weight, operand, proxies) in self._terms.items():
                values = [
                    self._compare(record, operand, proxies, targets[name])
                    for _, record in records
                ]
                loss = weight * sum(values) / len(values)
                if torch.is_grad_enabled() and not loss.requires_grad:
                    raise RuntimeError(
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
                raise ValueError(
                    "visual='output' is the attention output at a prompt, but with "
                    "labels='patch' in the prompt each patch has a label. Leave visual "
                    "out or set it to 'output_patch', 'patch', 'query' or 'key'."
                )
            operand = 'output_patch' if operand == 'output' else operand
            terms['visual'] = (weight, PATCHES[operand], prompt)
        return terms

    def _targets(self, args: tuple, kwargs: dict) -> dict[str, Targets]:
        """Return the prompts that the vectors of each term belong to."""
        labels, prompt = self._labels, self._backbone.prompt
        samples = argument('data_samples', 1, args, kwargs) or ()
        targets: dict[str, Targets] = {}
        for name in self._terms:
            if name == 'visual' and labels.of_patches:
                size = argument('inputs', 0, args, kwargs).shape[-2:]
                classes = labels.patch_classes(samples, size)
            else:
                classes = labels.image_classes(samples)
            own = prompt.assign(classes.to(prompt.class_to_prompt.device))
            # Crops of another size on another rank have another number of patches.
            sizes = gather_sizes(own.flatten()) if own.dim() == 2 else None
            targets[name] = Targets(own, gather_batch(own.flatten(), sizes), sizes)
        return targets

    def _compare(
        self, record: dict[str, Tensor], operand: str, prompt: str, targets: Targets
    ) -> Tensor:
        """Return the loss of one operand of one layer, a scalar."""
        x, proxies = map(at_least_float32, (record[operand], record[prompt]))
        if operand == 'output':
            rows = torch.arange(len(x), device=x.device)
            x = x[rows, targets.own.clamp(min=0)]
        x = x.flatten(0, -2)
        knows_cosines = hasattr(self._loss, 'from_cosines')
        if prompt != 'prompt' and self._backbone.prompt.dropout.p > 0:
            # The mean over the batch of this rank: take that over all ranks.
            proxies = gather_batch(proxies[None]).mean(dim=0)
        elif knows_cosines:  # proxies are equal on all ranks, so cosines are enough
            cosines = gather_batch(self._loss.cosines(x, proxies), targets.sizes)
            return self._loss.from_cosines(cosines, targets.of_all)
        x, of_all = gather_batch(x, targets.sizes), targets.of_all
        if not knows_cosines:  # nor what a target of -1 is
            x, of_all = x[of_all >= 0], of_all[of_all >= 0]
            if not len(x):
                return 0 * (x.sum() + proxies.sum())
        return self._loss(x, proxies, of_all)
