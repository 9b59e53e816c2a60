# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What the commands that look into models share: runs, images, files."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from torch import nn

from mmvpt.analysis import prompted_backbone
from mmvpt.checkpoint import read_checkpoint, use_safe_loading
from mmvpt.engine.config_mistakes import OptionAction
from mmvpt.engine.hooks import CompleteWeightsHook
from mmvpt.engine.launch import load_config
from mmvpt.engine.shown_images import ShownImages, choose_indices, show_images
from mmvpt.engine.work_dir import list_checkpoints
from mmvpt.models.backbones import PromptedVisionTransformer
from mmvpt.registry import DATASETS, MODELS


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


def fail(message: str) -> NoReturn:
    """End the program with a message and status 1.

    Args:
        message: What is wrong and what to do.
    """
    sys.exit(f'{Path(sys.argv[0]).name}: error: {message}')


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a model."""
    parser.add_argument('run', help='work dir of a run, or a config file')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file or URL [the last one of the work dir]',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        metavar='KEY=VALUE',
        help='change the config',
    )
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='run code that a checkpoint holds. Only for files whose maker you know.',
    )


def add_images(parser: argparse.ArgumentParser, count: int) -> None:
    """Add the arguments that name images."""
    parser.add_argument(
        '--split',
        choices=['train', 'val', 'test'],
        default='val',
        help="data of the config [val], with the validation's pipeline",
    )
    parser.add_argument(
        *('--num', '-n'),
        type=int,
        default=count,
        help=f'images of the split, one of each class in turn [{count}]',
    )
    parser.add_argument(
        '--images', nargs='+', metavar='FILE', help='image files instead of a split'
    )


def add_out(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the argument that names what is written."""
    parser.add_argument(
        '--out', default=name, help=f'path without ending of the files [{name}]'
    )


def load_model(args: argparse.Namespace) -> tuple[nn.Module, Config]:
    """Build the model of a run and load its weights.

    Args:
        args: With what :func:`add_run` added.

    Raises:
        SystemExit: If it is not clear which config or checkpoint is meant.
        CheckpointError: If the checkpoint is not of this config.
    """
    path, checkpoint = Path(args.run), args.checkpoint
    if path.is_dir():
        configs = sorted(path.glob('*.py'))
        if len(configs) != 1:
            fail(
                f'{path} holds {len(configs)} configs (*.py), so it is not clear which '
                'model is meant. Give the config and the checkpoint.'
            )
        saved = list_checkpoints(path)
        if checkpoint is None and not saved:
            fail(f'{path} holds no checkpoint. Give one.')
        checkpoint = checkpoint or str(saved[-1])
        path = configs[0]
    elif checkpoint is None:
        fail(f'{path} is no folder. With a config, give its checkpoint as well.')
    config = load_config(str(path), args.cfg_options)
    use_safe_loading(args.trust_checkpoint)
    init_default_scope(config.get('default_scope', 'mmengine'))
    settings = config.model
    if config.get('data_preprocessor') is not None:
        settings.setdefault('data_preprocessor', config.data_preprocessor)
    model = MODELS.build(settings)
    found = read_checkpoint(checkpoint, trusted=args.trust_checkpoint)
    state = found.get('state_dict', found)
    state = {name.removeprefix('module.'): value for name, value in state.items()}
    if not all(name in state for name, _ in model.named_parameters()):
        model.init_weights()  # the frozen weights may be in a file of their own
    holder = SimpleNamespace(model=model)
    CompleteWeightsHook().after_load_checkpoint(holder, dict(state_dict=state))
    model.load_state_dict(state, strict=False)
    return model.eval(), config


def load_look(args: argparse.Namespace) -> Look:
    """Load a model and images.

    Args:
        args: With what :func:`add_run` and :func:`add_images` added.

    Raises:
        SystemExit: If the config lacks the data or an image is missing.
        ValueError: If the model has no prompts.
    """
    model, config = load_model(args)
    backbone = prompted_backbone(model)
    loader = config.get(f'{args.split}_dataloader')
    if args.num < 1:
        fail(f'--num must be at least 1, got {args.num}.')
    if args.images:
        missing = [file for file in args.images if not os.path.isfile(file)]
        if missing:
            fail(f'no such image: {", ".join(missing)}')
        pipeline = Compose(_without_labels(_pipeline(config)))
        items = [pipeline(dict(img_path=file)) for file in args.images]
        classes = ()
    else:
        if loader is None:
            fail(f'the config has no {args.split}_dataloader.')
        settings = loader.dataset
        if args.split == 'train':
            settings.pipeline = _pipeline(config)
        dataset = DATASETS.build(settings)
        items = [dataset[i] for i in choose_indices(dataset, args.num)]
        classes = tuple((dataset.metainfo or {}).get('classes') or ())
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


def save_arrays(out: str, arrays: dict[str, np.ndarray]) -> Path:
    """Write arrays to ``out.npz``, under a temporary name first.

    Args:
        out: Path without ending; folders are made.
        arrays: The arrays.

    Returns:
        ``out.png``, where the picture belongs.
    """
    base = Path(out)
    base.parent.mkdir(parents=True, exist_ok=True)
    target = base.with_name(base.name + '.npz')
    temporary = base.with_name(f'.{base.name}.tmp')
    with open(temporary, 'wb') as file:
        np.savez_compressed(file, **arrays)
    os.replace(temporary, target)
    return base.with_name(base.name + '.png')


def _pipeline(config: Config) -> list:
    """Return the pipeline of validation, or else of test."""
    for field in ('val_dataloader', 'test_dataloader'):
        dataset = (config.get(field) or {}).get('dataset') or {}
        if 'pipeline' in dataset:
            return dataset['pipeline']
    fail('the config has no val_dataloader or test_dataloader.')


def _without_labels(pipeline: Sequence[dict]) -> list[dict]:
    labels = ('LoadAnnotations', 'CheckSegMap')
    return [step for step in pipeline if not str(step['type']).endswith(labels)]
