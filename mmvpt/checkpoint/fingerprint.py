# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Which frozen weights a tuned part belongs to.

Tuned-only checkpoints leave the frozen weights out and carry their fingerprint as one
more entry of the state dict, :data:`MARK` below the backbone. So every loader that
calls ``load_state_dict``, of whatever project, compares it with the model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mmvpt.models.precision import FROZEN_DTYPES, HALF
from mmvpt.weights import read_weights

from . import CheckpointError

#: Name of the entry of a state dict that holds a fingerprint, below the backbone's.
MARK = 'frozen_weights'
_POSITIONS = 'pos_embed'
_SAMPLES = 64
_TOLERANCE = 1e-4


class FingerprintError(CheckpointError):
    """Tuned weights that belong to other frozen weights."""


@dataclass(frozen=True)
class Fingerprint:
    """Identifies the frozen weights of a backbone."""

    name: str  # what the config calls them: ``mmvpt://NAME`` or the name of a file
    #: For each frozen parameter half of the SHA-256 over type, shape and values.
    tensors: Mapping[str, str]
    #: If the position embedding was resized when it was loaded, evenly spaced values of
    #: it. Resizing is not the same to the last bit on all machines, so these are
    #: compared to 1e-4 instead of its hash.
    positions: tuple[float, ...] | None = None
    #: What they are kept in if it is of half precision: ``frozen_dtype`` of the
    #: backbone. The hashes are those of the rounded values.
    dtype: str | None = None

    @property
    def sha256(self) -> str:
        """Hash over all of it but the name, in hexadecimal digits."""
        text = json.dumps([sorted(self.tensors.items()), self.positions])
        return hashlib.sha256(text.encode()).hexdigest()

    def __str__(self) -> str:
        kept = f' in {self.dtype}' if self.dtype else ''
        return f'{self.name}{kept} (fingerprint {self.sha256[:12]})'

    def differing(self, other: Fingerprint) -> list[str]:
        """Name the parameters that ``other`` lacks or has with other values.

        Args:
            other: Another fingerprint; it may cover more parameters.
        """
        names = [
            name
            for name, value in self.tensors.items()
            if other.tensors.get(name) != value
        ]
        if _POSITIONS in names and self.positions and other.positions:
            ours, theirs = torch.tensor(self.positions), torch.tensor(other.positions)
            # one step of half precision, to which resized values may fall either way
            step = torch.finfo(getattr(torch, self.dtype)).eps if self.dtype else 0
            if ours.shape == theirs.shape and torch.allclose(
                ours, theirs, rtol=step, atol=_TOLERANCE
            ):
                names.remove(_POSITIONS)
        return names

    def to_json(self) -> str:
        """Return it as text."""
        content = asdict(self)
        if self.dtype is None:  # as files of before have it
            del content['dtype']
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str) -> Fingerprint:
        """Read what :meth:`to_json` wrote.

        Raises:
            CheckpointError: If it is something else.
        """
        try:
            content = json.loads(text)
            positions, dtype = content['positions'], content.get('dtype')
            if dtype not in (None, *FROZEN_DTYPES):
                raise ValueError(f'dtype {dtype!r}')
            return cls(
                str(content['name']),
                {str(name): str(value) for name, value in content['tensors'].items()},
                None if positions is None else tuple(float(p) for p in positions),
                dtype,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f'the fingerprint of the frozen weights is unreadable ({error}): the '
                'file is damaged. Fetch or publish it again.'
            ) from error

    def to_tensor(self) -> Tensor:
        """Return it as an entry for a state dict, uint8 (bytes of the text,)."""
        return torch.frombuffer(bytearray(self.to_json().encode()), dtype=torch.uint8)

    @classmethod
    def from_tensor(cls, entry: Tensor) -> Fingerprint:
        """Read what :meth:`to_tensor` wrote."""
        return cls.from_json(bytes(entry.cpu().tolist()).decode(errors='replace'))


def fingerprint(backbone: nn.Module, names: set[str] | None = None) -> Fingerprint:
    """Compute the fingerprint of a backbone as it is.

    Args:
        backbone: A ``PromptedVisionTransformer``.
        names: Parameters to cover, by default those that are frozen.
    """
    return fingerprint_of(
        {
            name: parameter
            for name, parameter in backbone.named_parameters()
            if (not parameter.requires_grad if names is None else name in names)
        },
        weights_name(backbone),
        getattr(backbone, 'positions_resized', False),
        backbone.stored_dtype,
    )


def fingerprint_of(
    weights: Mapping[str, Tensor],
    name: str,
    resized: bool = False,
    dtype: torch.dtype | None = None,
) -> Fingerprint:
    """Compute the fingerprint of weights.

    Args:
        weights: Frozen weights by their names in the backbone.
        name: What they are called.
        resized: Whether the position embedding among them was resized when loaded.
        dtype: What a backbone keeps them in, if that is of half precision.
    """
    tensors = {key: _digest(value) for key, value in sorted(weights.items())}
    positions = None
    if resized and _POSITIONS in weights:
        values = weights[_POSITIONS].detach().flatten().double()
        chosen = torch.linspace(0, len(values) - 1, _SAMPLES).long()
        positions = tuple(round(v, 6) for v in values[chosen].tolist())
    kept = str(dtype)[6:] if dtype in HALF else None
    return Fingerprint(name, tensors, positions, kept)


def weights_name(backbone: nn.Module) -> str:
    """Return what the config calls the frozen weights; of an absolute path the end."""
    init_cfg = getattr(backbone, 'init_cfg', None) or {}
    checkpoint = init_cfg.get('checkpoint') if isinstance(init_cfg, Mapping) else None
    if checkpoint is None:
        return 'weights without a name'
    if '://' in checkpoint or not Path(checkpoint).is_absolute():
        return checkpoint
    return Path(checkpoint).name


def complete_state(
    backbone: nn.Module, state: MutableMapping[str, Tensor], prefix: str
) -> None:
    """Add the frozen weights to a tuned-only state if they are those it belongs to.

    Frozen weights that were not loaded yet are loaded as ``init_cfg`` says. Nothing
    happens to a state without a fingerprint.

    Args:
        backbone: The module that ``state`` goes to.
        state: Changed in place.
        prefix: What stands before the backbone's names in ``state``.

    Raises:
        FingerprintError: If it belongs to other weights; both are named.
    """
    entry = state.pop(prefix + MARK, None)
    if entry is None:
        return
    wanted = Fingerprint.from_tensor(entry)
    found = fingerprint(backbone, set(wanted.tensors))
    if wanted.dtype != found.dtype:
        raise FingerprintError(
            f'the tuned weights belong to the frozen weights {wanted}, kept in '
            f'{wanted.dtype or "float32"}, and this backbone keeps them in '
            f'{found.dtype or "float32"}. Set model.backbone.frozen_dtype='
            f'{wanted.dtype!r}, as they were trained.'
        )
    if wanted.differing(found) and not backbone.is_init:
        try:
            backbone.init_weights()
        except (CheckpointError, ValueError) as error:
            raise FingerprintError(
                f'the tuned weights belong to the frozen weights {wanted}; loading '
                f'{_named(backbone, error)} in their place failed: {error} Name the '
                'right ones in model.backbone.init_cfg.checkpoint, or as weights= of '
                'mmvpt.load.'
            ) from error
        found = fingerprint(backbone, set(wanted.tensors))
    differing = wanted.differing(found)
    if differing:
        raise FingerprintError(
            f'the tuned weights belong to the frozen weights {wanted}, the model has '
            f'{found}: {len(differing)} of {len(wanted.tensors)} frozen tensors differ '
            f'({", ".join(differing[:3])}{", ..." if len(differing) > 3 else ""}). '
            f'Give {wanted.name} in model.backbone.init_cfg.checkpoint, or as weights= '
            'of mmvpt.load.'
        )
    weights = dict(backbone.named_parameters())
    for name in wanted.tensors:
        state.setdefault(prefix + name, weights[name].detach())


def _named(backbone: nn.Module, error: Exception) -> str:
    """Name weights that do not fit: with their fingerprint, if they can be read."""
    name = weights_name(backbone)
    if isinstance(error, CheckpointError):
        return name
    weights, _ = read_weights(backbone.init_cfg['checkpoint'])
    return str(fingerprint_of(weights, name))


def _digest(value: Tensor) -> str:
    value = value.detach().cpu().contiguous()
    digest = hashlib.sha256(f'{value.dtype} {tuple(value.shape)}'.encode())
    digest.update(value.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]
