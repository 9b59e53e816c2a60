# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A look at the prompts while training runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from mmvpt import analysis
from mmvpt.engine.forward import unwrapped
from mmvpt.engine.shown_images import ShownImages, choose_indices, show_images
from mmvpt.errors import UserError
from mmvpt.models.prompts import DistributionAwarePrompt, GatedPrompt
from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.registry import HOOKS

#: Arrays of gates, and what their scalars are called.
GATES = dict(gates='gate', selection_ratio='selection', temperatures='temperature')


@HOOKS.register_module()
class PromptVisualizationHook(Hook):
    """Give the visualizer figures and pictures of the prompts.

    Every ``interval`` epochs (or iterations) and before training, to every backend of
    ``runner.visualizer`` (``LocalVisBackend``, ``TensorboardVisBackend`` ...):

    * scalars ``prompt/cls_attention_i``, the share of CLS' attention in layer i that
      goes to prompts (all images and heads), and ``prompt/similarity_i``, the mean
      cosine between the prompts of layer i;
    * of Gated Prompt Tuning ``prompt/gate_i``, ``prompt/selection_i`` and
      ``prompt/temperature_i``;
    * of DA-VPT ``prompt/positive_attention_i``, the share of CLS' attention to prompts
      that goes to the positive one, in guided layers, and ``mapping/drift``, the share
      of classes whose prompt changed since the last look;
    * pictures ``prompt_attention``, ``prompt_similarity`` and, of Gated Prompt Tuning,
      ``prompt_gates``.

    It draws no random numbers and puts the model's mode back, so training is the same
    with it and without. Only the main process looks.

    Args:
        interval: Epochs or iterations between two looks.
        by_epoch: Whether ``interval`` counts epochs.
        num_images: Images, of validation data; one of each class in turn.
        layer: Layer of the attention picture, negative from the end; None for the last
            guided layer, or the last of all.
        pictures: Whether to draw, which takes about a second for each look.

    Raises:
        UserError: If ``interval`` or ``num_images`` is below 1.
    """

    priority = 'LOW'

    def __init__(
        self,
        interval: int = 1,
        by_epoch: bool = True,
        num_images: int = 4,
        layer: int | None = None,
        pictures: bool = True,
    ) -> None:
        for name, value in (('interval', interval), ('num_images', num_images)):
            if not isinstance(value, int) or value < 1:
                raise UserError(f'{name} must be at least 1, got {value!r}.')
        self.interval = interval
        self.by_epoch = by_epoch
        self.num_images = num_images
        self.layer = layer
        self.pictures = pictures
        self._shown: ShownImages | None = None
        self._map: np.ndarray | None = None

    def before_train(self, runner: Runner) -> None:
        """Check the model, read the images and look for the first time."""
        name = type(self).__name__
        model = unwrapped(runner.model)
        backbone = analysis.prompted_backbone(model)
        analysis.resolve_layer(backbone, self.layer)
        if not backbone.num_extra_tokens:
            raise UserError(f'{name} looks at CLS, which the backbone has not.')
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise UserError(
                f'{name}: training counts iterations, so no epoch ends. Set '
                'by_epoch=False and interval to a number of iterations.'
            )
        if runner.val_loop is None:
            raise UserError(
                f'{name} shows validation images, but the config has no '
                'val_dataloader. Add one or remove the hook.'
            )
        self._read_images(runner)
        self._look(runner, runner.iter)

    def after_train_epoch(self, runner: Runner) -> None:
        """Look if it is time."""
        if self.by_epoch and self.every_n_epochs(runner, self.interval):
            self._look(runner, runner.iter)

    def after_train_iter(self, runner: Runner, batch_idx: int, **_: Any) -> None:
        """Look if it is time."""
        if not self.by_epoch and self.every_n_train_iters(runner, self.interval):
            self._look(runner, runner.iter + 1)

    @master_only
    def _read_images(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        prompt = analysis.prompted_backbone(model).prompt
        dataset = runner.val_loop.dataloader.dataset
        items = [dataset[i] for i in choose_indices(dataset, self.num_images)]
        size = items[0]['inputs'].shape
        self._shown = show_images(
            model,
            [item for item in items if item['inputs'].shape == size],
            prompt.patch_size,
            (getattr(dataset, 'metainfo', None) or {}).get('classes') or (),
            getattr(prompt, 'num_classes', None),
        )

    @master_only
    def _look(self, runner: Runner, step: int) -> None:
        model, shown = unwrapped(runner.model), self._shown
        backbone = analysis.prompted_backbone(model)
        maps = [
            one
            for one in analysis.attention_maps(model, shown.inputs)
            if one.num_prompts
        ]
        similarity = analysis.prompt_similarity(model, shown.inputs)
        scalars = {
            f'prompt/cls_attention_{one.layer}': share
            for one, share in zip(maps, analysis.shares(maps)[:, 1])
        }
        for i, value in zip(similarity['layers'], np.diag(similarity['means'])):
            if np.isfinite(value):  # not with a single prompt
                scalars[f'prompt/similarity_{i}'] = value
        gates = {}
        if isinstance(backbone.prompt, GatedPrompt):
            prompt = backbone.prompt
            gates = analysis.gate_arrays(prompt.gate_logits, prompt.temperatures)
        for key, name in GATES.items():
            for i, value in enumerate(gates.get(key, ())):
                scalars[f'prompt/{name}_{i}'] = value
        if isinstance(backbone.prompt, DistributionAwarePrompt):
            scalars.update(self._guided(backbone, maps))
        runner.visualizer.add_scalars(
            {name: float(value) for name, value in scalars.items()}, step=step
        )
        if self.pictures:
            self._draw(runner, maps, similarity, gates, step)

    def _guided(
        self, backbone: PromptedVisionTransformer, maps: Sequence[analysis.Attention]
    ) -> dict[str, float]:
        """Return what only prompts with a map have."""
        scalars = {}
        for one in maps:
            positive = analysis.positive_prompts(
                backbone, one.layer, self._shown.classes
            )
            if positive is None or not bool((positive >= 0).any()):
                continue
            given = one.cls_to_prompts().mean(dim=1)
            given = given[positive >= 0] / given[positive >= 0].sum(-1, keepdim=True)
            chosen = given.gather(1, positive[positive >= 0][:, None])
            scalars[f'prompt/positive_attention_{one.layer}'] = float(chosen.mean())
        new = backbone.prompt.class_to_prompt.cpu().numpy().copy()
        if self._map is not None and (self._map >= 0).all():
            scalars['mapping/drift'] = float(np.mean(self._map != new))
        self._map = new
        return scalars

    def _draw(
        self,
        runner: Runner,
        maps: Sequence[analysis.Attention],
        similarity: dict[str, np.ndarray],
        gates: dict[str, np.ndarray],
        step: int,
    ) -> None:
        # matplotlib takes a second to import: only where pictures are wanted.
        from mmvpt.analysis import pictures

        shown = self._shown
        backbone = analysis.prompted_backbone(unwrapped(runner.model))
        layer = analysis.resolve_layer(backbone, self.layer)
        one = next((m for m in maps if m.layer == layer), None)
        if one is None:
            raise UserError(
                f'{type(self).__name__}: layer {layer} has no prompts, layers '
                f'{[m.layer for m in maps]} have. Choose one of them.'
            )
        positive = analysis.positive_prompts(backbone, layer, shown.classes)
        figures = dict(
            prompt_attention=pictures.draw_attention(
                shown.pictures,
                one.cls.float().cpu().numpy(),
                one.prompts.float().cpu().numpy(),
                one.num_extra,
                one.grid,
                layer=layer,
                positive=None if positive is None else positive.cpu().numpy(),
                titles=shown.names,
            ),
            prompt_similarity=pictures.draw_similarity(similarity, len(shown.names)),
        )
        if gates:
            figures['prompt_gates'] = pictures.draw_gates(gates)
        for name, figure in figures.items():
            runner.visualizer.add_image(name, pictures.as_image(figure), step=step)
