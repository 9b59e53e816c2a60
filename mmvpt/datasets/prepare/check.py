# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Verify prepared tasks, or a dump that somebody else made."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mmvpt.datasets.fgvc import FGVC
from mmvpt.datasets.listed import ListedDataset
from mmvpt.datasets.vtab1k import VTAB1k
from mmvpt.display import markdown
from mmvpt.errors import UserError

from .images import load
from .layouts import expected_counts
from .parsers.segmentation import check_map
from .task import RefusedError, Task
from .writer import ORIGIN, SUMS


class Image(NamedTuple):
    """One listed image; a map of class numbers belongs to it in segmentation."""

    path: Path
    label: int | tuple[int, ...]
    map: Path | None = None


@dataclass
class Report:
    """What is found out about a task."""

    task: str  # its name
    folder: str  # where it lies
    verdict: str = 'ok'  # 'ok', 'absent', 'counts differ' or 'bad'
    counts: dict[str, int] = field(default_factory=dict)  # split -> images in it
    #: Split -> images that should be in it.
    expected: dict[str, int] = field(default_factory=dict)
    classes: int = 0  # classes that occur in any split
    #: Fewest and most images of a class over all splits.
    per_class: tuple[int, int] = (0, 0)
    #: Whether the splits are the published ones, or 'unconfirmed'; None if nothing
    #: tells.
    official: bool | str | None = None
    #: What is wrong, one sentence each.
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what is worth knowing

    def as_dict(self) -> dict:
        """Return everything as plain values."""
        return asdict(self)


def check(
    task: Task,
    out: str | os.PathLike = 'data',
    *,
    allow_counts: bool = False,
) -> Report:
    """Check a task's folder: lists, labels, counts, every image, equal images.

    Args:
        task: One of ``TASKS``.
        out: Folder of all data.
        allow_counts: Let splits of another size than the published ones pass.
    """
    folder = _folder(task, Path(out).expanduser())
    report = Report(task.name, str(folder), expected=expected_counts(task))
    if not folder.is_dir():
        report.verdict = 'absent'
        return report
    try:
        if task.layout == 'segmentation':
            splits = _read_segmentation(task, folder)
        else:
            splits = _read_lists(task, folder)
    except (OSError, ValueError) as error:
        report.problems.append(str(error))
        report.verdict = 'bad'
        return report
    report.counts = {split: len(images) for split, images in splits.items()}
    _check_origin(folder, report)
    if task.layout != 'segmentation':
        _check_classes(task, splits, report)
    digests = _check_images(task, splits, report)
    _check_equal(task, splits, digests, report)
    _check_sums(folder, digests, report)
    if report.problems:
        report.verdict = 'bad'
    else:
        _check_counts(task, report, allow_counts)
    return report


def table(reports: Iterable[Report]) -> str:
    """Return the reports as a table, and what is wrong or worth knowing below it."""
    rows = [('task', 'images per split', 'classes', 'per class', 'split', 'verdict')]
    below = []
    for report in reports:
        splits = [(s, n) for s, n in report.counts.items() if s != 'train800val200']
        official = {None: 'unknown', True: 'official', False: 'NOT official'}
        official['unconfirmed'] = 'unconfirmed'
        rows.append(
            (
                report.task,
                ' '.join(f'{split}:{count}' for split, count in splits) or '-',
                str(report.classes or '-'),
                '-'.join(map(str, report.per_class)) if report.classes else '-',
                official[report.official] if report.counts else '-',
                report.verdict,
            )
        )
        below += [f'{report.task}: {text}' for text in report.problems]
        below += [f'{report.task}: note: {text}' for text in report.notes]
    # a list, since lines of one paragraph run together on a terminal
    return '\n'.join([markdown(rows), *(f'- {line}' for line in below)])


def _folder(task: Task, out: Path) -> Path:
    if task.layout == 'fgvc':
        for name in FGVC.TASKS[task.name].folders:
            if (out / 'fgvc' / name / 'train.json').is_file():
                return out / 'fgvc' / name
    return out / task.folder


def _read_lists(task: Task, folder: Path) -> dict[str, list[Image]]:
    how: dict[str, Any] = dict(pipeline=[], lazy_init=True)
    sets: dict[str, ListedDataset]
    if task.layout == 'fgvc':
        how['num_classes'] = task.num_classes
        splits = ('train', 'val', 'test')
        sets = {name: FGVC(task.name, name, folder, **how) for name in splits}
    else:
        place = folder.parent
        sets = {name: VTAB1k(task.name, name, place, **how) for name in VTAB1k.SPLITS}
    return {
        name: [Image(data.image_dir() / e.path, e.label) for e in data.read_entries()]
        for name, data in sets.items()
    }


def _read_segmentation(task: Task, folder: Path) -> dict[str, list[Image]]:
    splits = {}
    lists = task.options.get('lists')
    for index, split in enumerate(('train', 'val')):
        if lists:
            stems = (folder / lists / f'{split}.txt').read_text().split()
            images, maps = folder / 'JPEGImages', folder / 'SegmentationClassContext'
        else:
            images, maps = (folder / task.options[k][index] for k in ('images', 'maps'))
            stems = sorted(path.stem for path in images.glob('*.jpg'))
            spare = {path.stem for path in maps.glob('*.png')} - set(stems)
            if spare:
                raise UserError(f'{maps / min(spare)}.png has no image.')
        splits[split] = [
            Image(images / f'{stem}.jpg', 0, maps / f'{stem}.png') for stem in stems
        ]
    return splits


def _check_origin(folder: Path, report: Report) -> None:
    path = folder / ORIGIN
    if not path.is_file():
        return
    try:
        origin = json.loads(path.read_text())
        report.official = origin['official_split']
        if report.official is not True:
            report.notes.append(origin['split'])
    except (ValueError, KeyError) as error:
        report.problems.append(f'{path} is malformed: {error}.')


def _check_classes(task: Task, splits: dict, report: Report) -> None:
    counts: Counter[int] = Counter()
    for split, images in splits.items():
        labels = Counter(image.label for image in images)
        strange = [label for label in labels if not 0 <= label < task.num_classes]
        if strange:
            report.problems.append(
                f'{split}: label {strange[0]} is outside 0..{task.num_classes - 1}.'
            )
        if split != 'train800val200':
            counts += labels
    report.classes = len(counts)
    report.per_class = (min(counts.values()), max(counts.values()))
    missing = sorted(set(range(task.num_classes)) - set(counts))
    if missing:
        report.problems.append(
            f'{len(missing)} of {task.num_classes} classes have no image in any split, '
            f'such as {missing[:5]}.'
        )


def _check_images(task: Task, splits: dict, report: Report) -> dict[Path, str]:
    """Decode every image once; return the digests."""
    digests: dict[Path, str] = {}
    broken, absent = [], []
    for images in splits.values():
        for image in images:
            if image.path in digests:
                continue
            try:
                content = image.path.read_bytes()
                digests[image.path] = hashlib.sha256(content).hexdigest()
                load(content, str(image.path))
                if image.map is not None:
                    labels = image.map.read_bytes()
                    digests[image.map] = hashlib.sha256(labels).hexdigest()
                    where, highest = str(image.map), task.options['highest']
                    check_map(labels, content, where, highest)
            except OSError as error:
                digests.setdefault(image.path, '')
                absent.append(str(error.filename))
            except RefusedError as error:
                broken.append(str(error))
    if absent:
        report.problems.append(
            f'{len(absent)} listed files do not exist, the first is {absent[0]}.'
        )
    if broken:
        report.problems.append(f'{len(broken)} files are broken: {broken[0]}')
    return digests


def _check_equal(task: Task, splits: dict, digests: dict, report: Report) -> None:
    """Look for images that are in two splits, or twice in one."""
    whole = splits.get('train800val200')
    if whole is not None:
        parts = [*splits['train800'], *splits['val200']]
        united = Counter((digests[image.path], image.label) for image in parts)
        if united != Counter((digests[image.path], image.label) for image in whole):
            report.problems.append(
                'train800val200 is not the union of train800 and val200.'
            )
    places: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for split, images in splits.items():
        if split != 'train800val200':
            for image in images:
                places[digests[image.path]][split].append(image.path)
    places.pop('', None)
    shared = [found for found in places.values() if len(found) > 1]
    if shared:
        pair = [paths[0] for paths in shared[0].values()]
        report.problems.append(
            f'{len(shared)} images are in two splits, such as {pair[0]} and {pair[1]}.'
        )
    twice = sum(len(p) > 1 for found in places.values() for p in found.values())
    if twice:
        report.notes.append(f'{twice} images are repeated within a split.')


def _check_sums(folder: Path, digests: dict, report: Report) -> None:
    path = folder / SUMS
    if not path.is_file():
        return
    sums = dict(line.split('  ', 1)[::-1] for line in path.read_text().splitlines())
    changed = []
    for name, digest in sums.items():
        found = digests.get(folder / name)
        if found is None and (folder / name).is_file():
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if found != digest:
            changed.append(name)
    if changed:
        report.problems.append(
            f'{len(changed)} files changed since they were prepared, such as '
            f'{changed[0]}.'
        )


def _check_counts(task: Task, report: Report, allow_counts: bool) -> None:
    differ = [
        f'{split} has {report.counts.get(split, 0)} images, expected {number}'
        + (' (unverified)' if split in task.unverified else '')
        for split, number in report.expected.items()
        if report.counts.get(split, 0) != number
    ]
    if differ:
        report.notes += differ
        report.verdict = 'ok' if allow_counts else 'counts differ'
