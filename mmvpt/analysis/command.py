# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What the commands that look into models share: runs, images, files."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from torch import nn

from mmvpt.apis import TunedModel, load
from mmvpt.engine.run import load_config
from mmvpt.engine.shown_images import ShownImages, choose_indices, show_images
from mmvpt.engine.work_dir import list_checkpoints
from mmvpt.errors import UserError
from mmvpt.files import write_whole
from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.registry import DATASETS

from . import prompted_backbone

RELEASED = ('.safetensors', '.pth')


@dataclass(frozen=True)
class Look:
    """A tuned model and images to look at it with.

    Args:
        model: The model, in eval mode.
        backbone: The prompted backbone in it.
        parts: The images, those of one size together.
        classes: Names of the classes, where known.
    """

    model: nn.Module
    backbone: PromptedVisionTransformer
    parts: tuple[ShownImages, ...]
    classes: tuple[str, ...]

    def of_first_size(self) -> ShownImages:
        """Return the images of the first one's size, and tell about others."""
        left = sum(len(part.names) for part in self.parts[1:])
        if left:
            print(f'left out {left} images, of other sizes than the first one')
        return self.parts[0]


def load_model(
    run: str, checkpoint: str | None = None, cfg_options: Mapping | None = None
) -> TunedModel:
    """Build the model of a run and load its weights.

    Args:
        run: Work dir of a run, a config file, or a released file.
        checkpoint: File or URL [the last one of the work dir].
        cfg_options: Changes to the config, by dotted key.

    Raises:
        UserError: If it is not clear which config or checkpoint is meant.
        CheckpointError: If the checkpoint is not of this config.
    """
    path = Path(run)
    if path.suffix in RELEASED and checkpoint is None:
        return load(path, device='cpu')
    if path.is_dir():
        configs = sorted(path.glob('*.py'))
        if len(configs) != 1:
            raise UserError(
                f'{path} holds {len(configs)} configs (*.py), so it is not clear which '
                'model is meant. Give the config and the checkpoint.'
            )
        saved = list_checkpoints(path)
        if checkpoint is None and not saved:
            raise UserError(f'{path} holds no checkpoint. Give one.')
        checkpoint = checkpoint or str(saved[-1])
        path = configs[0]
    elif checkpoint is None:
        raise UserError(
            f'{path} is no folder. With a config, give its checkpoint as well.'
        )
    config = load_config(path, dict(cfg_options or {}))
    return load(config, weights=checkpoint, device='cpu')


def load_look(
    run: str,
    checkpoint: str | None = None,
    *,
    num: int,
    cfg_options: Mapping | None = None,
    split: str = 'val',
    images: Sequence[str] | None = None,
) -> Look:
    """Load a model and images.

    Args:
        run: See :func:`load_model`.
        checkpoint: See :func:`load_model`.
        cfg_options: See :func:`load_model`.
        num: Images of the split.
        split: Data of the config, with the validation's pipeline.
        images: Image files instead of a split.

    Raises:
        UserError: If the config lacks the data, an image is missing, or the model has
            no prompts.
    """
    loaded = load_model(run, checkpoint, cfg_options)
    model, config = loaded.model, loaded.config
    backbone = prompted_backbone(model)
    if num < 1:
        raise UserError(f'--num must be at least 1, got {num}.')
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        items, classes = _read_items(config, split, num, images)
    groups: dict[tuple, list] = {}
    for item in items:
        groups.setdefault(tuple(item['inputs'].shape), []).append(item)
    prompt = backbone.prompt
    number = getattr(prompt, 'num_classes', None)
    parts = tuple(
        show_images(model, group, prompt.patch_size, classes, number)
        for group in groups.values()
    )
    return Look(model, backbone, parts, classes)


def _read_items(
    config: Config, split: str, num: int, images: Sequence[str] | None
) -> tuple[list[dict], tuple[str, ...]]:
    """Return images as the pipeline gives them, and names of classes."""
    if images:
        missing = [file for file in images if not os.path.isfile(file)]
        if missing:
            raise UserError(f'no such image: {", ".join(missing)}')
        pipeline = Compose(_without_labels(_pipeline(config)))
        return [pipeline(dict(img_path=file)) for file in images], ()
    loader = config.get(f'{split}_dataloader')
    if loader is None:
        raise UserError(f'the config has no {split}_dataloader. Give --images.')
    settings = loader.dataset
    if split == 'train':
        settings.pipeline = _pipeline(config)
    dataset = DATASETS.build(settings)
    items = [dataset[i] for i in choose_indices(dataset, num)]
    return items, tuple((dataset.metainfo or {}).get('classes') or ())


def save_arrays(out: str, arrays: dict[str, Any]) -> Path:
    """Write arrays to ``out.npz``, whole or not at all.

    Args:
        out: Path without ending; folders are made.
        arrays: The arrays.

    Returns:
        ``out.png``, where the picture belongs.
    """
    base, content = Path(out), io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_whole(base.with_name(base.name + '.npz'), content.getvalue())
    return base.with_name(base.name + '.png')


def _pipeline(config: Config) -> list:
    """Return the pipeline of validation, or else of test."""
    for field in ('val_dataloader', 'test_dataloader'):
        dataset = (config.get(field) or {}).get('dataset') or {}
        if 'pipeline' in dataset:
            return dataset['pipeline']
    raise UserError('the config has no val_dataloader or test_dataloader.')


def _without_labels(pipeline: Sequence[dict]) -> list[dict]:
    labels = ('LoadAnnotations', 'CheckSegMap')
    return [step for step in pipeline if not str(step['type']).endswith(labels)]
