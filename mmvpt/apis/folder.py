# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Predictions as files in a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from PIL import Image

from mmvpt.datasets.image_files import as_png, distinct_names
from mmvpt.display import progress
from mmvpt.errors import UserError
from mmvpt.files import write_whole

from .images import Source, find_images
from .results import Result, Segmentation, Unreadable, write_csv, write_json
from .tuned_model import TunedModel


@dataclass(frozen=True)
class Summary:
    """What became of the images."""

    predicted: int  # how many were predicted
    unreadable: tuple[Unreadable, ...]  # the others


def predict_to_folder(
    model: TunedModel,
    images: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    batch_size: int | None = None,
    pictures: bool = False,
) -> Summary:
    """Predict files and write ``predictions.csv`` and ``predictions.json``.

    Masks are written one by one, as ``NAME.mask.png`` with indices of classes and
    ``NAME.png`` over the image.

    Args:
        model: The model.
        images: Files and folders; below a folder ``out`` is left out.
        out: The folder, made if it is not there. Files of the same name are replaced.
        batch_size: Images in a batch [as in tools/test.py].
        pictures: Draw the class on each image; masks are always drawn.

    Raises:
        UserError: If ``out`` is a file.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise UserError(f'{out} is a file; results go into a folder, name another.')
    sources = [s for image in images for s in _find_inputs(image, out)]
    if out.resolve() in {s.path.resolve().parent for s in sources}:
        raise UserError(
            f'{out} holds images that are predicted, and results could take their '
            'names. Give another folder for the results.'
        )
    names = _names(sources)
    if len({source.name for source in sources}) < len(sources):
        sources = [Source(str(source.image), source.image) for source in sources]
    results: list[dict] = []
    rows: list[dict] = []
    unreadable: list[Unreadable] = []
    outcomes = model.stream(sources, batch_size, errors='collect')
    try:
        for source, outcome in progress(
            zip(sources, outcomes), 'predicting', len(sources)
        ):
            if isinstance(outcome, Unreadable):
                unreadable.append(outcome)
                continue
            if pictures or isinstance(outcome, Segmentation):
                _draw(model, source, outcome, out / names[source.path])
            results.append(outcome.as_dict())
            rows += outcome.rows()
    finally:  # whatever ends it, what was finished is kept
        write_csv(out / 'predictions.csv', rows)
        write_json(out / 'predictions.json', model.class_names, results, unreadable)
    return Summary(len(results), tuple(unreadable))


def _names(sources: Sequence[Source]) -> dict[Path, str]:
    """Return the name of each image's pictures; no two are the same.

    It is the path below the folder that was given; if images of several folders would
    share one, the path below the folder that all of them lie in.
    """
    names = {source.path: _below(source.name) for source in sources}
    if len({name.casefold() for name in names.values()}) == len(names):
        return names
    distinct = distinct_names(map(str, names))
    return {path: _below(distinct[str(path)]) for path in names}


def _below(name: str) -> str:
    """Return a name that leads out of no folder."""
    path = PurePath(name)
    if path.is_absolute():
        return path.name
    parts = [p.replace(':', '') for p in path.parts if p not in ('..', '.')]
    return str(PurePath(*parts)) if parts else 'image'


def _find_inputs(image: str | os.PathLike, out: Path) -> list[Source]:
    """List images, without the results of an earlier call below a given folder."""
    sources = find_images(image)
    folder, results = Path(image).expanduser().resolve(), out.resolve()
    if not folder.is_dir() or folder not in results.parents:
        return sources
    below = results.relative_to(folder).parts
    return [s for s in sources if Path(s.name).parts[: len(below)] != below]


def _draw(model: TunedModel, source: Source, result: Result, path: Path) -> None:
    """Write the pictures of one result."""
    image = Image.fromarray(model.read(source))
    for ending, picture in result.draw(image).items():
        target = path.with_name(path.name + ending)
        write_whole(target, as_png(picture), durable=False)
