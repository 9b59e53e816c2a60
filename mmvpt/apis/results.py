# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What a prediction is, and how it is written to files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

import numpy as np
from PIL import Image, ImageDraw

from mmvpt.files import write_whole


class _Scored:
    """A result with scores of all classes."""

    scores: np.ndarray
    class_names: tuple[str, ...]

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """Return the ``k`` classes of the highest scores with these, best first."""
        order = np.argsort(-self.scores, kind='stable')[:k]
        return [(self.class_names[i], float(self.scores[i])) for i in order]


@dataclass(frozen=True, eq=False)
class Classification(_Scored):
    """The class of one image."""

    source: str  # name of the image
    label: int  # index of the class with the highest score
    class_name: str  # its name
    score: float  # its score, 0 to 1
    scores: np.ndarray = field(repr=False)  # scores of all classes, float32 (K,)
    class_names: tuple[str, ...] = field(repr=False)  # names of all classes

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return dict(
            image=self.source,
            label=self.label,
            class_name=self.class_name,
            score=self.score,
            scores=self.scores.tolist(),
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return its rows of a table."""
        row = self.as_dict()
        return [{k: row[k] for k in ('image', 'label', 'class_name', 'score')}]

    def draw(self, image: Image.Image) -> dict[str, Image.Image]:
        """Return pictures by the end of their file names."""
        text = f'{self.class_name} {self.score:.2f}'
        return {'.png': _captioned(image, text)}


@dataclass(frozen=True, eq=False)
class MultiLabel(_Scored):
    """The classes of one image, any number of them."""

    source: str  # name of the image
    #: Indices of the classes that are present, those of high scores first.
    labels: tuple[int, ...]
    #: Scores of all classes, each 0 to 1 by itself, float32 (K,).
    scores: np.ndarray = field(repr=False)
    class_names: tuple[str, ...] = field(repr=False)  # names of all classes

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        rows = self.rows() if self.labels else []
        classes = [{k: v for k, v in row.items() if k != 'image'} for row in rows]
        return dict(image=self.source, classes=classes, scores=self.scores.tolist())

    def rows(self) -> list[dict[str, Any]]:
        """Return its rows of a table: one for each class, or one without a class."""
        named: list[dict[str, Any]] = [
            dict(label=i, class_name=self.class_names[i], score=float(self.scores[i]))
            for i in self.labels
        ]
        if not named:
            named = [dict(label='', class_name='', score='')]
        return [dict(image=self.source, **row) for row in named]

    def draw(self, image: Image.Image) -> dict[str, Image.Image]:
        """Return pictures by the end of their file names."""
        names = [f'{self.class_names[i]} {self.scores[i]:.2f}' for i in self.labels]
        return {'.png': _captioned(image, '\n'.join(names) or 'no class')}


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The class of every pixel of one image."""

    source: str  # name of the image
    #: Indices of classes, uint8 or uint16 (height, width) as the image.
    mask: np.ndarray = field(repr=False)
    class_names: tuple[str, ...] = field(repr=False)  # names of all classes
    #: Their colours, (R, G, B) each.
    palette: tuple[tuple[int, ...], ...] = field(repr=False)

    @property
    def shares(self) -> list[tuple[int, float]]:
        """Label and share of the pixels of each class that is there, largest first."""
        counts = np.bincount(self.mask.ravel())
        order = np.argsort(-counts, kind='stable')
        return [(int(i), counts[i] / self.mask.size) for i in order if counts[i]]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it, without the mask."""
        return dict(image=self.source, size=self.mask.shape, classes=self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """Return its rows of a table, one for each class that is there."""
        named = ((i, self.class_names[i], share) for i, share in self.shares)
        keys = ('image', 'label', 'class_name', 'share')
        return [dict(zip(keys, (self.source, *row))) for row in named]

    def draw(self, image: Image.Image) -> dict[str, Image.Image]:
        """Return the mask and the image under it by the end of their file names."""
        palette = np.array(self.palette, dtype=np.uint8)
        colours = palette[self.mask]
        mask = Image.fromarray(self.mask)
        if self.mask.dtype == np.uint8:
            mask.putpalette(palette.tobytes())
        over = Image.blend(image, Image.fromarray(colours), 0.5)
        return {'.mask.png': mask, '.png': over}


Result = Union[Classification, MultiLabel, Segmentation]


def _captioned(image: Image.Image, text: str) -> Image.Image:
    """Return an image with a text in its corner."""
    image = image.copy()
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = pen.textbbox((3, 3), text)
    pen.rectangle((left - 3, top - 3, right + 3, bottom + 3), fill=(0, 0, 0))
    pen.text((3, 3), text, fill=(255, 255, 255))
    return image


@dataclass(frozen=True)
class Unreadable:
    """An image that gave no prediction."""

    source: str  # its name
    reason: str  # why, naming it


class Predictions(Sequence):
    """Results in the order of the images, and what could not be read.

    Attributes:
        results: One for each image that could be read.
        unreadable: The others.
    """

    def __init__(
        self, results: Sequence[Result], unreadable: Sequence[Unreadable] = ()
    ) -> None:
        self.results = tuple(results)
        self.unreadable = tuple(unreadable)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index):
        return self.results[index]

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __repr__(self) -> str:
        shown = ', '.join(map(repr, self.results[:3]))
        more = f', ... {len(self) - 3} more' if len(self) > 3 else ''
        lost = f', {len(self.unreadable)} unreadable' if self.unreadable else ''
        return f'Predictions([{shown}{more}]{lost})'

    def to_csv(self, path: str | Path) -> None:
        """Write a table of image, class, and score or share of pixels."""
        write_csv(path, [row for result in self for row in result.rows()])

    def to_json(self, path: str | Path) -> None:
        """Write all scores, the class names, and what could not be read and why."""
        names = self.results[0].class_names if self.results else ()
        results = [result.as_dict() for result in self]
        write_json(path, names, results, self.unreadable)


def write_csv(path: str | Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of results as a table."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ['image'])
    writer.writeheader()
    writer.writerows(rows)
    # Names of files may be bytes that are no UTF-8; they stay as they are.
    write_whole(path, text.getvalue().encode(errors='surrogateescape'))


def write_json(
    path: str | Path,
    class_names: Sequence[str],
    results: Sequence[dict[str, Any]],
    unreadable: Sequence[Unreadable],
) -> None:
    """Write results as JSON."""
    content = dict(
        class_names=class_names,
        results=results,
        unreadable=[vars(item) for item in unreadable],
    )
    write_whole(path, (json.dumps(content, indent=1) + '\n').encode())
