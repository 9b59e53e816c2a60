# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""VTAB-1k and own tasks in its layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from mmengine.logging import MMLogger

from mmvpt.errors import MissingFileError, UserError, similar
from mmvpt.registry import DATASETS

from .listed import LAYOUTS, Entry, ListedDataset
from .text import read_text


class VTABTask(NamedTuple):
    """What is known of a VTAB-1k task."""

    folder: str  # its folder in the common image dump
    num_classes: int
    group: str  # 'natural', 'specialized' or 'structured'


@DATASETS.register_module()
class VTAB1k(ListedDataset):
    """A task of VTAB-1k, or an own task in the same layout.

    The layout is that of the community's image dump::

        data/vtab-1k/
        └── cifar/                    the task's folder, see VTAB1k.TASKS
            ├── images/...            any folders
            ├── classes.txt           optional, one class name per line
            ├── train800.txt          lines 'path label', path relative to cifar/
            ├── val200.txt
            ├── train800val200.txt    the union of the two
            └── test.txt

    Labels count from 0. A path may contain spaces: the label is the last word of the
    line. Empty lines are skipped.

    For an own task give ``task=None`` and its folder as ``data_root``; ``split`` is
    then the name of any list file in it, without '.txt', and the number of classes
    comes from ``classes.txt``, ``classes`` or ``num_classes``. Its images may lie
    elsewhere: ``image_root``.

    Source: Zhai et al., `A Large-scale Study of Representation Learning with the Visual
    Task Adaptation Benchmark <https://arxiv.org/abs/1910.04867>`_.

    Args:
        task: One of ``VTAB1k.TASKS``, or None for an own task.
        split: 'train800', 'val200', 'train800val200' or 'test'. Tune on the first two;
            train the final model on the third; read 'test' once, at the end.
        data_root: Folder that holds the tasks' folders; for an own task its folder.
        num_classes: Number of classes of an own task. Official tasks know theirs.
        classes: Class names, or a file with one name per line.
        image_root: Folder that the paths in lists are relative to, by default the
            task's folder.
        cache_images: Keep decoded images in memory, see :class:`ListedDataset`.
        **kwargs: ``pipeline``, ``indices``, ``test_mode``, ``lazy_init``, ...

    Raises:
        MissingFileError: If folder, list or listed images are missing.
        UserError: If ``task`` or ``split`` is unknown, a line is malformed, a label is
            out of range, or a number of classes contradicts another.
    """

    TASKS: ClassVar[dict[str, VTABTask]] = {
        'cifar100': VTABTask('cifar', 100, 'natural'),
        'caltech101': VTABTask('caltech101', 102, 'natural'),
        'dtd': VTABTask('dtd', 47, 'natural'),
        'oxford_flowers102': VTABTask('oxford_flowers102', 102, 'natural'),
        'oxford_iiit_pet': VTABTask('oxford_iiit_pet', 37, 'natural'),
        'svhn': VTABTask('svhn', 10, 'natural'),
        'sun397': VTABTask('sun397', 397, 'natural'),
        'patch_camelyon': VTABTask('patch_camelyon', 2, 'specialized'),
        'eurosat': VTABTask('eurosat', 10, 'specialized'),
        'resisc45': VTABTask('resisc45', 45, 'specialized'),
        'retinopathy': VTABTask('diabetic_retinopathy', 5, 'specialized'),
        'clevr_count': VTABTask('clevr_count', 8, 'structured'),
        'clevr_dist': VTABTask('clevr_dist', 6, 'structured'),
        'dmlab': VTABTask('dmlab', 6, 'structured'),
        'kitti': VTABTask('kitti', 4, 'structured'),
        'dsprites_loc': VTABTask('dsprites_loc', 16, 'structured'),
        'dsprites_ori': VTABTask('dsprites_ori', 16, 'structured'),
        'smallnorb_azi': VTABTask('smallnorb_azi', 18, 'structured'),
        'smallnorb_ele': VTABTask('smallnorb_ele', 9, 'structured'),
    }
    # Sizes of the official lists; test lists differ from task to task.
    SPLITS: ClassVar[dict[str, int | None]] = {
        'train800': 800,
        'val200': 200,
        'train800val200': 1000,
        'test': None,
    }

    def __init__(
        self,
        task: str | None = 'cifar100',
        split: str = 'train800',
        data_root: str | os.PathLike = 'data/vtab-1k',
        *,
        num_classes: int | None = None,
        classes: str | Sequence[str] | None = None,
        image_root: str | os.PathLike | None = None,
        cache_images: bool = False,
        **kwargs,
    ) -> None:
        folder = Path(data_root).expanduser()
        if task is None:
            if not folder.is_dir() and num_classes is None and classes is None:
                raise MissingFileError(
                    f'Folder {str(folder)!r} of the own task does not exist. {LAYOUTS}'
                )
        else:
            if task not in self.TASKS:
                raise UserError(
                    f'Unknown VTAB-1k task {task!r}.{similar(str(task), self.TASKS)} '
                    f'Tasks are {", ".join(self.TASKS)}; for an own task give '
                    'task=None and its folder as data_root.'
                )
            if split not in self.SPLITS:
                raise UserError(
                    f'Unknown split {split!r} of VTAB-1k; splits are '
                    f'{", ".join(self.SPLITS)}.'
                )
            official = self.TASKS[task]
            if num_classes not in (None, official.num_classes):
                raise UserError(
                    f'VTAB-1k task {task!r} has {official.num_classes} classes, got '
                    f'num_classes={num_classes}. Leave it out, or use task=None for an '
                    'own task.'
                )
            num_classes = official.num_classes
            folder = folder / official.folder
        self.task = task
        self.split = split
        super().__init__(
            folder,
            num_classes=num_classes,
            classes=classes,
            image_root=image_root,
            cache_images=cache_images,
            **kwargs,
        )

    def prepare_hint(self) -> str:
        """Return one sentence on how to get the data, for messages."""
        if self.task is None:
            return LAYOUTS
        return (
            f'Unpack the VTAB-1k image dump so that {self.folder / self.split}.txt '
            f'exists, or point data_root to where it is. {LAYOUTS}'
        )

    def read_entries(self) -> list[Entry]:
        """Return the listed images in the order of the list."""
        path = self.folder / f'{self.split}.txt'
        if not path.is_file():
            lists = sorted(p.stem for p in self.folder.glob('*.txt'))
            found = ', '.join(name for name in lists if name != 'classes')
            raise MissingFileError(
                f'List {str(path)!r} does not exist (splits found there: '
                f'{found or "none"}). {self.prepare_hint()}'
            )
        entries = read_list(path)
        expected = self.SPLITS.get(self.split) if self.task is not None else None
        if expected is not None and len(entries) != expected:
            MMLogger.get_current_instance().warning(
                f'{path} lists {len(entries)} images, VTAB-1k has {expected} there: '
                'results are not comparable with published ones.'
            )
        return entries

    def extra_repr(self) -> list[str]:
        """Return the lines that ``repr`` adds."""
        return [f'Task: \t{self.task}', f'Split: \t{self.split}', *super().extra_repr()]


def read_list(
    path: Path, parse: Callable[[str], Any] = int, form: str = 'path label'
) -> list[Entry]:
    """Read a list of lines 'path label'.

    Args:
        path: The list file, UTF-8.
        parse: Makes the label of a word; raises ValueError if it is none.
        form: What a line looks like, for messages.

    Raises:
        UserError: If a line is malformed, or the list is empty or not text.
    """
    entries = []
    for number, line in enumerate(read_text(path).split('\n'), 1):
        if not line.strip():
            continue
        where = f'{path}, line {number}'
        words = line.strip().rsplit(None, 1)
        if len(words) != 2:
            raise UserError(
                f'{where}: expected {form!r}, got {line.strip()!r}. Labels are '
                'integers from 0.'
            )
        try:
            label = parse(words[1])
        except ValueError:
            raise UserError(
                f'{where}: label {words[1]!r} is not an integer. Expected {form!r}, '
                f'got {line.strip()!r}.'
            ) from None
        entries.append(Entry(words[0], label, where))
    if not entries:
        raise UserError(f'{path} is empty. Expected lines {form!r}.')
    return entries
