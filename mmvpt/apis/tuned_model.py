# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A tuned model that takes images and returns classes or masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import TRANSFORMS, DefaultScope
from torch import nn

from mmvpt import display
from mmvpt.checkpoint import CheckpointError
from mmvpt.checkpoint.meaning import num_classes
from mmvpt.checkpoint.tuned import TunedCheckpoint
from mmvpt.datasets.own import palette_of
from mmvpt.errors import UserError, one_of

from .images import (
    ORDERS,
    ImageError,
    ImageLike,
    Source,
    as_bgr,
    check_file,
    find_images,
)
from .limits import check_input
from .meaning import meaning_of
from .results import (
    Classification,
    MultiLabel,
    Predictions,
    Result,
    Segmentation,
    Unreadable,
)

Outcome = Union[Result, Unreadable]


class TunedModel:
    """What :func:`mmvpt.load` returns.

    Attributes:
        model: The classifier or segmentor of mmpretrain or mmseg, in eval mode.
        config: Its config.
        tuned: What was loaded into it.
        class_names: Names of the classes; their numbers if none are known.
        palette: Colours of the classes, (R, G, B) each.
        meaning: How outputs become classes.

    Args:
        model: The model.
        config: Its config; the test pipeline is taken from it.
        tuned: What was loaded into it.
    """

    def __init__(self, model: nn.Module, config: Config, tuned: TunedCheckpoint):
        self.model = model
        self.config = config
        self.tuned = tuned
        names = tuple(tuned.classes or ())
        count = num_classes(model) or len(names)
        self.class_names = names + tuple(map(str, range(len(names), count)))
        colours = tuple(map(tuple, tuned.palette or ()))
        missing = palette_of(len(self.class_names))[len(colours) :]
        self.palette = colours + tuple(map(tuple, missing))
        self.meaning = meaning_of(model)
        self._loader, self._pipeline = self._build_pipeline()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def batch_size(self) -> int:
        """Images in a batch of ``tools/test.py``."""
        loader = self.config.get('test_dataloader') or {}
        return int(loader.get('batch_size') or 1)

    def to(self, device: str | torch.device) -> TunedModel:
        """Move the model and return it."""
        self.model.to(device)
        return self

    def predict(
        self,
        images: ImageLike | Sequence[ImageLike],
        batch_size: int | None = None,
        channels: str = 'rgb',
        errors: str = 'raise',
        progress: bool = False,
    ) -> Predictions:
        """Predict.

        Files are read by the test pipeline of the config, as ``tools/test.py`` reads
        them. Results are the same to the last bit if the batches are the same.

        Args:
            images: A file, a folder (all files below it), an array (height, width, 3),
                uint8 or uint16, a PIL image, or a list of these.
            batch_size: Images in a batch, by default that of the config's
                ``test_dataloader``.
            channels: Order of the channels of arrays, ``rgb`` or ``bgr``.
            errors: What to do about an image that cannot be read: ``raise``, or
                ``collect`` it in ``unreadable`` of the predictions.
            progress: Show a bar on the standard error stream, if it is a terminal.

        Returns:
            One :class:`Classification` or :class:`Segmentation` for each image.

        Raises:
            ImageError: With ``errors='raise'``, for an image that cannot be read or
                taken by the model.
            FileNotFoundError: For a path that does not exist.
            UserError: For a value that is not allowed.
        """
        results: list[Result] = []
        unreadable: list[Unreadable] = []
        sources = find_images(images)
        outcomes: Iterable[Outcome] = self.stream(sources, batch_size, channels, errors)
        if progress:
            outcomes = display.progress(outcomes, 'predicting', len(sources))
        for outcome in outcomes:
            if isinstance(outcome, Unreadable):
                unreadable.append(outcome)
            else:
                results.append(outcome)
        return Predictions(results, unreadable)

    def stream(
        self,
        images: ImageLike | Iterable[ImageLike | Source],
        batch_size: int | None = None,
        channels: str = 'rgb',
        errors: str = 'raise',
    ) -> Iterator[Outcome]:
        """Predict image by image, so that not all results need to be in memory.

        Args:
            images: As for :meth:`predict`, and what :func:`find_images` returned.
            batch_size: As for :meth:`predict`.
            channels: As for :meth:`predict`.
            errors: As for :meth:`predict`.

        Yields:
            Results, and :class:`Unreadable` in the place of what could not be read.
        """
        one_of('channels', channels, ORDERS)
        if errors not in ('raise', 'collect'):
            raise UserError(f"errors must be 'raise' or 'collect', got {errors!r}.")
        batch_size = self.batch_size if batch_size is None else batch_size
        if batch_size < 1:
            raise UserError(f'batch_size must be at least 1, got {batch_size}.')
        sources = find_images(images)
        waiting: list[tuple[str, Any]] = []  # in order: name and sample, or unreadable
        for source in sources:
            try:
                waiting.append((source.name, self._sample(source, channels)))
            except ImageError as error:
                if errors == 'raise':
                    raise
                waiting.append((source.name, Unreadable(source.name, str(error))))
            if sum(isinstance(sample, dict) for _, sample in waiting) == batch_size:
                yield from self._run(waiting, errors)
                waiting = []
        yield from self._run(waiting, errors)

    def _sample(self, source: Source, channels: str) -> dict:
        """Take one image through the test pipeline."""
        if isinstance(source.image, (str, Path)):
            image = check_file(source.path)
            sample: dict[str, Any] = dict(img_path=str(source.image))
        else:
            image = as_bgr(source, channels)
            sample = {}
        steps: Callable = self._pipeline
        if image is None:
            steps = Compose([self._loader, self._pipeline])
        else:
            if getattr(self._loader, 'to_float32', False):
                image = image.astype(np.float32)
            size = image.shape[:2]
            sample.update(img=image, img_shape=size, ori_shape=size)
        try:
            packed = steps(sample)
        except (ImageError, CheckpointError) as error:
            raise ImageError(str(error)) from error
        except Exception as error:  # whatever a transform raises, the image is named
            raise ImageError(
                f'{source.name} cannot go through the test pipeline: {error}'
            ) from error
        if packed is None:
            raise ImageError(f'{source.name} was dropped by the test pipeline.')
        check_input(source.name, self.model, packed)
        return packed

    @torch.no_grad()
    def _run(self, waiting: list[tuple[str, Any]], errors: str) -> Iterator[Outcome]:
        """Run the model on images of one size at a time and keep the order."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, (_, sample) in enumerate(waiting):
            if isinstance(sample, dict):
                groups.setdefault(tuple(sample['inputs'].shape), []).append(i)
        results: dict[int, Outcome] = {}  # without the scores of all pixels
        for indices in groups.values():
            named = [waiting[i] for i in indices]
            for i, outcome in zip(indices, self._outcomes(named, errors)):
                results[i] = outcome
        for i, (_, sample) in enumerate(waiting):
            yield results.get(i, sample)

    def _outcomes(self, named: list[tuple[str, dict]], errors: str) -> list[Outcome]:
        """Return the results of images of one size; those that fail are named."""
        try:
            outputs = self.model.test_step(
                pseudo_collate([sample for _, sample in named])
            )
        except Exception as error:  # whatever a layer raises, the image is named
            if len(named) > 1:
                return [o for item in named for o in self._outcomes([item], errors)]
            name, sample = named[0]
            size = ' x '.join(map(str, reversed(sample['inputs'].shape[-2:])))
            reason = f'{name} cannot be taken by the model, {size} pixels: {error}'
            if errors == 'raise':
                raise ImageError(reason) from error
            return [Unreadable(name, reason)]
        return [self._result(name, out) for (name, _), out in zip(named, outputs)]

    def _result(self, name: str, output: Any) -> Result:
        if 'pred_sem_seg' in output:
            mask = output.pred_sem_seg.data[0].cpu().numpy()
            dtype = np.uint8 if len(self.class_names) <= 256 else np.uint16
            return Segmentation(
                name, mask.astype(dtype), self.class_names, self.palette
            )
        scores = output.pred_score.float().cpu().numpy()
        if self.meaning.kind == 'multi-label classification':
            labels = sorted(output.pred_label.tolist(), key=lambda i: -scores[i])
            return MultiLabel(name, tuple(labels), scores, self.class_names)
        label = int(scores.argmax())
        return Classification(
            source=name,
            label=label,
            class_name=self.class_names[label],
            score=float(scores[label]),
            scores=scores,
            class_names=self.class_names,
        )

    def read(self, source: Source) -> np.ndarray:
        """Return an image as the pipeline loads it, RGB (height, width, 3)."""
        image = check_file(source.path)
        if image is None:
            image = self._loader(dict(img_path=str(source.image)))['img']
        return np.ascontiguousarray(image[..., ::-1].astype(np.uint8))

    def _build_pipeline(self) -> tuple[Callable, Callable]:
        """Build what loads a file, and the rest of the test pipeline."""
        loader = self.config.get('test_dataloader') or {}
        dataset = loader.get('dataset') or {}
        while 'pipeline' not in dataset and 'dataset' in dataset:
            dataset = dataset['dataset']
        steps = list(dataset.get('pipeline') or self.config.get('test_pipeline') or ())
        if not steps:
            raise CheckpointError(
                'the config has no test pipeline (test_dataloader.dataset.pipeline), '
                'so it is unknown how images enter the model.'
            )
        masks = ('LoadAnnotations', 'LoadSegMap')
        steps = [s for s in steps if not s['type'].endswith(masks)]
        is_loader = steps[0]['type'].rpartition('.')[2].startswith('LoadImage')
        first = steps.pop(0) if is_loader else dict(type='LoadImageFromFile')
        with DefaultScope.overwrite_default_scope(self.config.get('default_scope')):
            return TRANSFORMS.build(first), Compose(map(TRANSFORMS.build, steps))
