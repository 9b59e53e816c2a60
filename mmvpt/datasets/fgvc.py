# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The five fine-grained tasks of VPT, with VPT's splits."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from mmvpt.errors import MissingFileError, UserError, similar
from mmvpt.registry import DATASETS

from .listed import LAYOUTS, Entry, ListedDataset


class FGVCTask(NamedTuple):
    """What is known of an FGVC task."""

    folders: tuple[str, ...]  # names of its folder, the first that exists is taken
    image_dirs: tuple[str, ...]  # where images lie in it, the first that exists
    num_classes: int


@DATASETS.register_module()
class FGVC(ListedDataset):
    """One of the five FGVC tasks with the splits published by VPT.

    ``<data_root>/<folder>/`` holds ``train.json``, ``val.json`` and ``test.json``, each
    an object ``{"relative image path": class id}``, and the images:

    ========  ============================  =======================
    name      folder (any of these)         images relative to
    ========  ============================  =======================
    cub       CUB200, CUB_200_2011, cub     ``images/``
    nabirds   NABIRDS555, nabirds           ``images/``
    flowers   FLOWERS102, flowers           the folder
    dogs      DOGS120, dogs                 ``Images/``, ``images/``
    cars      CARS196, cars                 the folder
    ========  ============================  =======================

    ``data_root`` may also be the task's folder itself. Class ids may be any integers:
    those of ``train.json``, sorted, become the labels 0..K-1 of every split.

    Source: Jia et al., `Visual Prompt Tuning <https://arxiv.org/abs/2203.12119>`_.

    Args:
        name: 'cub', 'nabirds', 'flowers', 'dogs' or 'cars'.
        split: 'train', 'val', 'trainval' (train, then val) or 'test'. VPT trains on
            'train' alone and selects on 'val'.
        data_root: Folder that holds the tasks' folders.
        num_classes: Expected number of classes; by default the official one.
        classes: Class names in the order of the sorted ids, or a file with them.
        cache_images: Keep decoded images in memory, see :class:`ListedDataset`.
        **kwargs: ``pipeline``, ``indices``, ``test_mode``, ``lazy_init``, ...

    Raises:
        MissingFileError: If folder, split file or listed images are missing.
        UserError: If ``name`` or ``split`` is unknown, a split file is malformed or
            empty, it holds a class that ``train.json`` lacks, or the number of classes
            is not the expected one.
    """

    TASKS: ClassVar[dict[str, FGVCTask]] = {
        'cub': FGVCTask(('CUB200', 'CUB_200_2011', 'cub'), ('images',), 200),
        'nabirds': FGVCTask(('NABIRDS555', 'nabirds'), ('images',), 555),
        'flowers': FGVCTask(('FLOWERS102', 'flowers'), ('.',), 102),
        'dogs': FGVCTask(('DOGS120', 'dogs'), ('Images', 'images'), 120),
        'cars': FGVCTask(('CARS196', 'cars'), ('.',), 196),
    }
    # Split name -> the files that it is made of.
    SPLITS: ClassVar[dict[str, tuple[str, ...]]] = {
        'train': ('train',),
        'val': ('val',),
        'trainval': ('train', 'val'),
        'test': ('test',),
    }

    def __init__(
        self,
        name: str = 'cub',
        split: str = 'train',
        data_root: str | os.PathLike = 'data/fgvc',
        *,
        num_classes: int | None = None,
        classes: str | Sequence[str] | None = None,
        cache_images: bool = False,
        **kwargs,
    ) -> None:
        if name not in self.TASKS:
            raise UserError(
                f'Unknown FGVC task {name!r}.{similar(str(name), self.TASKS)} Tasks '
                f'are {", ".join(self.TASKS)}.'
            )
        if split not in self.SPLITS:
            raise UserError(
                f'Unknown split {split!r} of FGVC; splits are {", ".join(self.SPLITS)}.'
            )
        self.name = name
        self.split = split
        if num_classes is None:
            num_classes = self.TASKS[name].num_classes
        super().__init__(
            self._find_folder(Path(data_root).expanduser()),
            num_classes=num_classes,
            classes=classes,
            cache_images=cache_images,
            **kwargs,
        )

    def _find_folder(self, data_root: Path) -> Path:
        folders = [data_root / folder for folder in self.TASKS[self.name].folders]
        for folder in [*folders, data_root]:
            if (folder / 'train.json').is_file():
                return folder
        return next((folder for folder in folders if folder.is_dir()), folders[0])

    def prepare_hint(self) -> str:
        """Return one sentence on how to get the data, for messages."""
        return (
            f'Put the images and the train.json, val.json and test.json that VPT '
            f'published for {self.name!r} into {self.folder} (other names of that '
            f'folder: {", ".join(self.TASKS[self.name].folders)}), or point data_root '
            f'to where they are. {LAYOUTS}'
        )

    def image_dir(self) -> Path:
        """Return the folder that listed paths are relative to."""
        candidates = [self.folder / d for d in self.TASKS[self.name].image_dirs]
        return next((path for path in candidates if path.is_dir()), candidates[0])

    def read_entries(self) -> list[Entry]:
        """Return the listed images, with contiguous labels."""
        train = self._read_split('train')
        ids = sorted({entry.label for entry in train})
        if len(ids) != self.num_classes:
            raise UserError(
                f'{self.folder / "train.json"} has {len(ids)} classes, expected '
                f'{self.num_classes} for {self.name!r}. Use the published split, or '
                f'give num_classes={len(ids)} if this one is meant.'
            )
        labels = {class_id: label for label, class_id in enumerate(ids)}
        entries = []
        for split in self.SPLITS[self.split]:
            for entry in train if split == 'train' else self._read_split(split):
                if entry.label not in labels:
                    raise UserError(
                        f'{entry.where}: class id {entry.label} does not occur in '
                        'train.json. Take all splits from the same source.'
                    )
                entries.append(entry._replace(label=labels[entry.label]))
        return entries

    def _read_split(self, split: str) -> list[Entry]:
        path = self.folder / f'{split}.json'
        if not path.is_file():
            raise MissingFileError(
                f'Split file {str(path)!r} does not exist. {self.prepare_hint()}'
            )
        try:
            content = json.loads(path.read_text(encoding='utf-8-sig'))
        except ValueError as error:  # not JSON, or not UTF-8
            raise UserError(f'{path} is not valid JSON: {error}.') from error
        if not isinstance(content, dict):
            raise UserError(
                f'{path} holds a {type(content).__name__}, expected an object '
                '{"relative image path": class id}.'
            )
        if not content:
            raise UserError(f'{path} lists no image.')
        entries = []
        for image, class_id in content.items():
            where = f'{path}, entry {image!r}'
            if isinstance(class_id, bool) or not isinstance(class_id, (int, str)):
                raise UserError(f'{where}: class id {class_id!r} is not an integer.')
            try:
                entries.append(Entry(image, int(class_id), where))
            except ValueError:
                raise UserError(
                    f'{where}: class id {class_id!r} is not an integer.'
                ) from None
        return entries

    def extra_repr(self) -> list[str]:
        """Return the lines that ``repr`` adds."""
        return [f'Name: \t{self.name}', f'Split: \t{self.split}', *super().extra_repr()]
