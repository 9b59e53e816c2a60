# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What training wrote, with all that is needed to use it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor, nn

from mmvpt.files import (
    ChecksumError,
    checksummed,
    is_checksummed,
    read_checksummed,
    write_whole,
)
from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.version import __version__

from . import CheckpointError, read_checkpoint
from .config_data import RELEASED_KEYS, from_data, to_data, without_paths
from .fingerprint import MARK, Fingerprint, fingerprint
from .meaning import check_meaning

FORMAT_VERSION = 1
META_KEY = 'mmvpt_tuned'


@dataclass(frozen=True)
class TunedCheckpoint:
    """Tuned weights and what they mean."""

    #: Weights and buffers by their names in the model. The frozen weights of the
    #: backbone are absent, unless ``frozen`` is empty: then it is the whole model.
    state: Mapping[str, Tensor]
    #: Fingerprints of the absent weights, by the path of the backbone in the model,
    #: usually ``backbone``.
    frozen: Mapping[str, Fingerprint]
    #: The config as plain data (:func:`mmvpt.checkpoint.config_data.to_data`).
    config: Mapping[str, Any]
    classes: tuple[str, ...] | None = None  # names of the classes, if known
    #: Colours of the classes of a segmentation, (R, G, B) each, if known.
    palette: tuple[tuple[int, ...], ...] | None = None
    #: ``mean`` and ``std`` of the data preprocessor, if it has any.
    normalization: Mapping[str, Any] | None = None
    #: Notes: epoch, iter, mmvpt version and the like.
    training: Mapping[str, Any] = field(default_factory=dict)

    def build_config(self) -> Config:
        """Return the config as mmengine has it; nothing is run.

        The data preprocessor has mean and std in numbers.

        Raises:
            CheckpointError: If the config held more than data.
        """
        config = Config(from_data(dict(self.config)))
        model = config.get('model') or {}
        for part in (model.get('data_preprocessor'), config.get('data_preprocessor')):
            if part and self.normalization:
                part.update(self.normalization)
        return config

    @property
    def class_to_prompt(self) -> dict[str, int] | None:
        """The prompt of every class (DA-VPT), None for other methods."""
        found = [v for n, v in self.state.items() if n.endswith('.class_to_prompt')]
        if not found:
            return None
        prompts = found[0].tolist()
        names = self.classes or tuple(map(str, range(len(prompts))))
        return dict(zip(names, prompts))

    def marked_state(self) -> dict[str, Tensor]:
        """Return the state with the fingerprints, as ``load_state_dict`` takes it."""
        marks = {
            f'{path}.{MARK}'.lstrip('.'): mark.to_tensor()
            for path, mark in self.frozen.items()
        }
        return {**self.state, **marks}

    def describe(self) -> str:
        """Return all but the weights as JSON."""
        return json.dumps(
            dict(
                format_version=FORMAT_VERSION,
                frozen={path: mark.to_json() for path, mark in self.frozen.items()},
                config=self.config,
                classes=self.classes,
                palette=self.palette,
                normalization=self.normalization,
                training=self.training,
            )
        )

    def to_bytes(self) -> bytes:
        """Return the content of a checksummed safetensors file."""
        return checksummed(
            self.marked_state(), {'format': 'pt', META_KEY: self.describe()}
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write a checksummed safetensors file, whole or not at all.

        Raises:
            CheckpointError: If the ending is another, or it cannot be written.
        """
        path = Path(path)
        if path.suffix != '.safetensors':
            raise CheckpointError(f'{path} must end in .safetensors.')
        write_checkpoint(path, self.to_bytes())


def write_checkpoint(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all; raise CheckpointError if that fails."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise CheckpointError(f'cannot write {path}: {error}') from error


def read_tuned(path: str | os.PathLike) -> TunedCheckpoint:
    """Read a release, or a checkpoint that ``AtomicCheckpointHook`` wrote.

    Args:
        path: A checksummed ``.safetensors`` file, or a ``.pth`` of training, tuned-only
            or full. Nothing in it is run.

    Raises:
        CheckpointError: If it is damaged, of a newer format, or no such file.
    """
    path = Path(path).expanduser()
    state: Any
    if path.suffix == '.safetensors' and path.is_file():
        try:
            state, metadata = read_checksummed(path)
        except ChecksumError as error:
            if path.stat().st_size and is_checksummed(path):
                raise CheckpointError(
                    f'{path} is damaged: {error}. Fetch it again.'
                ) from error
            raise CheckpointError(
                f'{path} is not a checkpoint that tools/publish.py or tools/merge.py '
                f'wrote, or it is damaged: {error}. For other weights give the config '
                'too: mmvpt.load(CONFIG, weights=FILE).'
            ) from error
        except OSError as error:
            raise CheckpointError(f'{path} cannot be read: {error}') from error
        text = metadata.get(META_KEY)
    else:
        content = read_checkpoint(path)
        meta = content.get('meta')
        text = meta.get(META_KEY) if isinstance(meta, dict) else None
        state = content.get('state_dict')
        if text is None or not isinstance(state, dict):
            raise CheckpointError(
                f'{path} does not tell its config: it was not written by mmvpt. Give '
                'the config too: mmvpt.load(CONFIG, weights=FILE), or --config CONFIG '
                'for tools/publish.py.'
            )
    try:
        return _parse(state, str(text))
    except CheckpointError as error:
        raise CheckpointError(f'{path}: {error}') from error


def _parse(state: Mapping[str, Tensor], text: str) -> TunedCheckpoint:
    """Put the parts together; errors in ``text`` become one kind of error."""
    try:
        facts = json.loads(text)
        version = facts['format_version']
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f'its description is unreadable ({error}).') from error
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f'it has format version {version!r}, this mmvpt ({__version__}) reads '
            f'{FORMAT_VERSION}. Install a newer mmvpt, or ask for an older file.'
        )
    try:
        frozen = {
            path: Fingerprint.from_json(mark) for path, mark in facts['frozen'].items()
        }
        classes, palette = facts['classes'], facts['palette']
        state, _ = unmarked(state)
        return TunedCheckpoint(
            state=state,
            frozen=frozen,
            config=dict(facts['config']),
            classes=None if classes is None else tuple(map(str, classes)),
            palette=palette and tuple(tuple(map(int, color)) for color in palette),
            normalization=_checked(facts['normalization']),
            training=dict(facts['training']),
        )
    except CheckpointError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f'its description is incomplete ({error}).') from error


def _checked(normalization: Any) -> dict[str, list[float]] | None:
    """Return mean and std if they are numbers that images can be divided by."""
    if normalization is None:
        return None
    mean, std = ([float(x) for x in normalization[key]] for key in ('mean', 'std'))
    if len(normalization) != 2 or not all(map(math.isfinite, mean + std)):
        raise ValueError('its normalisation is not a finite mean and std')
    if len(mean) != len(std) or min(std, default=0) <= 0:
        raise ValueError('its normalisation has no positive std for each mean')
    return dict(mean=mean, std=std)


def unmarked(
    state: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, Fingerprint]]:
    """Split a state into weights and the fingerprints of absent ones."""
    weights, marks = {}, {}
    for name, value in state.items():
        path, _, last = name.rpartition('.')
        if last == MARK:
            marks[path] = Fingerprint.from_tensor(value)
        else:
            weights[name] = value
    return weights, marks


def frozen_backbones(model: nn.Module) -> dict[str, nn.Module]:
    """Find the backbones whose frozen weights a tuned-only checkpoint leaves out.

    Returns:
        Backbones with frozen parameters by their path in ``model``, such as
        ``backbone``; the path of ``model`` itself is ''.
    """
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, PromptedVisionTransformer)
        and any(not p.requires_grad for p in module.parameters())
    }


def frozen_names(model: nn.Module) -> set[str]:
    """Return the names, in ``model``, of frozen weights of its backbones."""
    return {
        join(path, name)
        for path, backbone in frozen_backbones(model).items()
        for name, parameter in backbone.named_parameters()
        if not parameter.requires_grad
    }


def training_names(model: nn.Module) -> set[str]:
    """Return the names, in ``model``, of what training alone reads."""
    return {
        join(path, name)
        for path, module in model.named_modules()
        for kind in ('training_buffers', 'training_parameters')
        for name in getattr(module, kind, ())
    }


def join(path: str, name: str) -> str:
    """Return ``path.name``, or ``name`` below an empty path."""
    return f'{path}.{name}' if path else name


def collect(
    model: nn.Module,
    config: Config | Mapping,
    state: Mapping[str, Tensor] | None = None,
    classes: tuple[str, ...] | None = None,
    palette: tuple | None = None,
    training: Mapping[str, Any] | None = None,
    with_frozen: bool = False,
    marks: Mapping[str, Fingerprint] | None = None,
) -> TunedCheckpoint:
    """Take a tuned checkpoint from a model.

    Args:
        model: The model, with its frozen weights.
        config: What it was built from.
        state: Its weights by name; those of ``model`` by default.
        classes: Names of the classes.
        palette: Colours of the classes.
        training: Notes.
        with_frozen: Keep the frozen weights: a stand-alone checkpoint.
        marks: Fingerprints of the frozen weights, if they are known already.
    """
    left_out = set() if with_frozen else frozen_names(model)
    state = model.state_dict() if state is None else state
    if with_frozen:
        marks = {}
    elif marks is None:
        marks = fingerprints(model)
    backbones = frozen_backbones(model).items()
    resized = [p for p, b in backbones if getattr(b, 'positions_resized', False)]
    return TunedCheckpoint(
        state={n: v.detach() for n, v in state.items() if n not in left_out},
        frozen=marks,
        config=to_data(config.to_dict() if isinstance(config, Config) else config),
        classes=None if classes is None else tuple(map(str, classes)),
        palette=None
        if palette is None
        else tuple(tuple(map(int, colour)) for colour in palette),
        normalization=normalization(model),
        training=dict(training or {}, mmvpt=__version__, resized=resized),
    )


def fingerprints(model: nn.Module) -> dict[str, Fingerprint]:
    """Return the fingerprints of the frozen weights by the path of their backbone."""
    return {path: fingerprint(b) for path, b in frozen_backbones(model).items()}


def normalization(model: nn.Module) -> dict[str, list[float]] | None:
    """Return ``mean`` and ``std`` of a model's data preprocessor, None without."""
    preprocessor = getattr(model, 'data_preprocessor', None)
    if getattr(preprocessor, 'mean', None) is None:
        return None
    return {
        key: getattr(preprocessor, key).flatten().tolist() for key in ('mean', 'std')
    }


def load_tuned(model: nn.Module, tuned: TunedCheckpoint) -> None:
    """Load tuned weights into a model, all of them or none.

    Frozen weights that the model does not have yet are loaded as ``init_cfg`` of its
    backbone says, and compared with the fingerprint.

    Args:
        model: Built from ``tuned.build_config().model`` or the like.
        tuned: What to load.

    Raises:
        FingerprintError: If the frozen weights are others.
        CheckpointError: If a weight is missing, of another shape, or unknown, or names
            or colours of classes are not those of the model.
    """
    check_meaning(model, tuned.classes, tuned.palette)
    own = model.state_dict()
    optional = training_names(model) | (frozen_names(model) if tuned.frozen else set())
    for path, mark in tuned.frozen.items():
        optional |= {join(path, name) for name in mark.tensors}
    missing = sorted(set(own) - set(tuned.state) - optional)
    unknown = sorted(set(tuned.state) - set(own))
    differing = sorted(
        name
        for name, value in tuned.state.items()
        if name in own and own[name].shape != value.shape
    )
    for names, what in (
        (missing, 'lacks weights of the model'),
        (unknown, 'has weights that the model lacks'),
        (differing, 'has weights of other shapes than the model'),
    ):
        if names:
            raise CheckpointError(
                f'the tuned checkpoint {what}: {", ".join(names[:3])}'
                f'{", ..." if len(names) > 3 else ""}. Build the model from the config '
                'it was trained with.'
            )
    model.load_state_dict(tuned.marked_state(), strict=False)


def released(tuned: TunedCheckpoint, model: nn.Module) -> TunedCheckpoint:
    """Leave out what only training reads.

    Args:
        tuned: What training wrote.
        model: Built from its config, weights do not matter.
    """
    needless = training_names(model)
    config = {k: v for k, v in tuned.config.items() if k in RELEASED_KEYS}
    return replace(
        tuned,
        state={n: v for n, v in tuned.state.items() if n not in needless},
        config=without_paths(config),
    )
