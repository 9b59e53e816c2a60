# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Known checkpoints: published weights, from the table ``known.csv``.

A config names one as ``mmvpt://NAME``. ``sha256`` holds what the publisher states, and
is None where nothing is stated: eight digits come from the file name, which by the
convention of torch.hub and OpenMMLab ends with the start of the hash.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .architecture import ConversionError

SCHEME = 'mmvpt://'


@dataclass(frozen=True)
class KnownCheckpoint:
    """One published file."""

    name: str  # what configs call it
    arch: str  # architecture of ``ARCHITECTURES``
    patch_size: int  # side of a patch in pixels
    image_size: int  # side of the images at the end of pretraining, in pixels
    #: Keys of ``FORMATS``: that of the published file, then others in which the same
    #: weights are had.
    formats: tuple[str, ...]
    normalization: str  # key of ``NORMALIZATIONS``
    licence: str  # SPDX name of the licence of the project that published the weights
    note: str  # what it is
    #: The published file, or None if it is had through timm alone.
    url: str | None = None
    #: Name in timm, whose package then fetches the weights, or None.
    timm: str | None = None
    #: Hash of the file or its first digits, None where none is stated.
    sha256: str | None = None
    md5: str | None = None  # the same for a publisher who states that one
    papers: tuple[str, ...] = ()  # methods of ours whose papers use it

    @property
    def source(self) -> str:
        """What ``tools/weights/convert.py`` takes: a file name or ``timm:NAME``."""
        if self.url is None:
            return f'timm:{self.timm}'
        return self.url.rsplit('/', 1)[1]


def _entry(row: dict[str, str]) -> KnownCheckpoint:
    values: dict[str, Any] = {key: value or None for key, value in row.items()}
    for key in ('formats', 'papers'):
        values[key] = tuple(row[key].split('; ')) if row[key] else ()
    for key in ('patch_size', 'image_size'):
        values[key] = int(row[key])
    return KnownCheckpoint(**values)


def known_checkpoint(name: str) -> KnownCheckpoint:
    """Return the entry of a name, with or without ``mmvpt://``."""
    plain = name.removeprefix(SCHEME)
    if plain not in KNOWN_CHECKPOINTS:
        raise ConversionError(
            f'{name} is no known checkpoint; known are {", ".join(KNOWN_CHECKPOINTS)}. '
            'A file of your own is named by its path.'
        )
    return KNOWN_CHECKPOINTS[plain]


with open(Path(__file__).with_suffix('.csv'), newline='', encoding='utf-8') as _file:
    KNOWN_CHECKPOINTS = {row['name']: _entry(row) for row in csv.DictReader(_file)}
