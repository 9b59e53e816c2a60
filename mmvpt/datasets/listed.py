# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Datasets whose images and labels are listed in files, checked when they load."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mmcv.transforms import LoadImageFromFile
from mmengine.logging import MMLogger
from mmpretrain.datasets import BaseDataset

from mmvpt.display import progress
from mmvpt.errors import MissingFileError, UserError

from .image_files import is_cut_off
from .text import read_lines

LAYOUTS = 'docs/own_data.md shows every file layout.'


class Entry(NamedTuple):
    """One listed image."""

    path: str  # relative to the image folder
    label: int | tuple[int, ...]
    where: str  # the place in the list, for messages

    @property
    def labels(self) -> tuple[int, ...]:
        """Its classes, one or several."""
        return self.label if isinstance(self.label, tuple) else (self.label,)


class ListedDataset(BaseDataset):
    """Images and labels from list files in one folder: the shared part.

    A subclass says where the lists are by :meth:`read_entries`. This class checks what
    they say (labels within the classes, files present) and can keep the decoded images
    in memory. ``metainfo['classes']`` is always set, so the number of classes is known
    before any list is read.

    Args:
        folder: The dataset's folder, with the lists and perhaps ``classes.txt``.
        classes: Class names, or a file with one name per line. By default
            ``classes.txt`` in the folder, else the numbers '0', '1', ...
        num_classes: Number of classes (K). Needed when no names are given.
        image_root: Folder that listed paths are relative to, by default ``folder``.
        cache_images: Decode every image once and keep it as a uint8 array. Samples
            are identical to uncached ones; the first step of the pipeline must be
            ``LoadImageFromFile``.
        metainfo: As in mmengine's ``BaseDataset``; ``metainfo['classes']`` is another
            way to give ``classes``.
        lazy_init: Read lists and images later, at ``full_init()``.
        **kwargs: ``pipeline``, ``indices``, ``test_mode``, ... of mmpretrain's
            ``BaseDataset``.

    Raises:
        MissingFileError: If the folder, a list or a listed image is missing.
        UserError: If a list is empty or malformed, a label is out of range, an image
            cannot be decoded, or numbers of classes disagree.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        classes: str | Sequence[str] | None = None,
        num_classes: int | None = None,
        image_root: str | os.PathLike | None = None,
        cache_images: bool = False,
        metainfo: dict | None = None,
        lazy_init: bool = False,
        **kwargs,
    ) -> None:
        self.folder = Path(folder).expanduser()
        self.image_root = None if image_root is None else Path(image_root).expanduser()
        self.cache_images = cache_images
        self._images: dict[str, dict] = {}  # image path -> what the loader returned

        metainfo = dict(metainfo or {})
        if classes is None:
            classes = metainfo.get('classes')
        metainfo['classes'] = class_names(self.folder, classes, num_classes)
        super().__init__(
            ann_file='',
            metainfo=metainfo,
            data_root=str(self.folder),
            lazy_init=True,
            **kwargs,
        )
        if cache_images:
            self._check_cacheable()
        if not lazy_init:
            self.full_init()

    @property
    def num_classes(self) -> int:
        """Number of classes (K)."""
        return len(self._metainfo['classes'])

    def read_entries(self) -> list[Entry]:
        """Return the listed images in the order of the list."""
        raise NotImplementedError

    def image_dir(self) -> Path:
        """Return the folder that listed paths are relative to."""
        return self.image_root or self.folder

    def prepare_hint(self) -> str:
        """Return one sentence on how to get the data, for messages."""
        return LAYOUTS

    def check_folder(self) -> None:
        """Raise FileNotFoundError if the dataset's folder is missing."""
        if not self.folder.is_dir():
            raise MissingFileError(
                f'Data folder {str(self.folder)!r} does not exist. '
                f'{self.prepare_hint()}'
            )

    def full_init(self) -> None:
        """Read and check the lists; decode the images if they are to be cached."""
        if self._fully_initialized:
            return
        super().full_init()
        if self.cache_images:
            self._fill_cache()

    def load_data_list(self) -> list[dict]:
        """Return ``dict(img_path, gt_label)`` per image, after all checks."""
        self.check_folder()
        entries = self.read_entries()
        self._check_labels(entries)
        root = self.image_dir()
        check_files(root, entries)
        return [
            dict(img_path=os.path.join(root, entry.path), gt_label=entry.label)
            for entry in entries
        ]

    def prepare_data(self, idx: int) -> dict | None:
        """Return the sample at ``idx`` as the pipeline makes it."""
        results = self.get_data_info(idx)
        steps = self.pipeline.transforms
        if steps and isinstance(steps[0], LoadImageFromFile):
            results = self._load_image(results, steps[0])
            steps = steps[1:]
        for step in steps:
            if results is None:
                return None
            results = step(results)
        return results

    def extra_repr(self) -> list[str]:
        """Return the lines that ``repr`` adds."""
        return [f'Folder: \t{self.folder}', f'Cached images: \t{len(self._images)}']

    def _check_labels(self, entries: list[Entry]) -> None:
        classes = set(range(self.num_classes))
        bad = [entry for entry in entries if not classes.issuperset(entry.labels)]
        if bad:
            raise UserError(
                f'{bad[0].where}: label {bad[0].label} of {bad[0].path!r} is outside '
                f'0..{self.num_classes - 1} ({self.num_classes} classes); '
                f'{len(bad)} of {len(entries)} entries are. Correct the list, or the '
                'number of classes if this is an own task.'
            )

    def _load_image(self, results: dict, loader: LoadImageFromFile) -> dict | None:
        cached = self._images.get(results['img_path'])
        if cached is not None:
            results.update(copy.deepcopy(cached))  # later steps may edit in place
            return results
        path = results['img_path']
        if is_cut_off(path):
            raise UserError(
                f'Image {path!r} ({os.path.getsize(path)} bytes) is cut off: its end '
                'is missing. Fetch it again, or take its line out of the list.'
            )
        try:
            return loader(results)
        except Exception as error:
            raise UserError(
                f'Cannot decode image {results["img_path"]!r} '
                f'({type(error).__name__}: {error}). Replace the file, or take its '
                'line out of the list.'
            ) from error

    def _check_cacheable(self) -> None:
        steps = self.pipeline.transforms
        if not steps or not isinstance(steps[0], LoadImageFromFile):
            first = type(steps[0]).__name__ if steps else 'nothing'
            raise UserError(
                'cache_images=True needs LoadImageFromFile as first step of the '
                f'pipeline, got {first}. Reorder the pipeline or set '
                'cache_images=False.'
            )
        if steps[0].to_float32:
            raise UserError(
                'cache_images=True keeps uint8 images, but LoadImageFromFile has '
                'to_float32=True. Drop it, or set cache_images=False.'
            )

    def _fill_cache(self) -> None:
        loader = self.pipeline.transforms[0]
        paths = [self.get_data_info(idx)['img_path'] for idx in range(len(self))]
        for path in progress(dict.fromkeys(paths), 'caching images', len(set(paths))):
            loaded = self._load_image({'img_path': path}, loader)
            if loaded is not None:  # the loader ignores broken files: so does the cache
                del loaded['img_path']
                self._images[path] = loaded
        num_bytes = sum(loaded['img'].nbytes for loaded in self._images.values())
        MMLogger.get_current_instance().info(
            f'Cached {len(self._images)} decoded images of {self.folder} '
            f'({num_bytes / 2**20:.1f} MiB)'
        )


def class_names(
    folder: Path, classes: str | Sequence[str] | None, num_classes: int | None
) -> tuple[str, ...]:
    """Find the names of the classes; see :class:`ListedDataset` for the order.

    Args:
        folder: The dataset's folder.
        classes: Names, or a file with one name per line, or None.
        num_classes: Number of classes, or None.

    Raises:
        MissingFileError: If ``classes`` is a file that does not exist.
        UserError: If nothing gives the number of classes, or two things disagree.
    """
    source = 'classes'
    if isinstance(classes, (str, os.PathLike)):
        source = str(classes)
        names = tuple(read_lines(classes))
    elif classes is not None:
        names = tuple(str(name) for name in classes)
    elif (folder / 'classes.txt').is_file():
        source = str(folder / 'classes.txt')
        names = tuple(read_lines(source))
    elif num_classes is not None:
        if num_classes < 1:
            raise UserError(f'num_classes must be at least 1, got {num_classes}.')
        return tuple(str(i) for i in range(num_classes))
    else:
        raise UserError(
            f'The number of classes in {str(folder)!r} is unknown. Give num_classes= '
            "or classes=[...], or put 'classes.txt' (one name per line) into the "
            f'folder. {LAYOUTS}'
        )
    if num_classes is not None and len(names) != num_classes:
        raise UserError(
            f'{source} has {len(names)} class names, but there are {num_classes} '
            'classes. Make them agree.'
        )
    if not names:
        raise UserError(f'{source} holds no class name.')
    return names


def check_files(root: str | Path, entries: Iterable[Entry]) -> None:
    """Raise FileNotFoundError if listed images are missing.

    Reads every folder once instead of asking for every file, which matters on network
    file systems.
    """
    listings: dict[str, set[str]] = {}
    missing = []
    for entry in entries:
        path = os.path.join(root, entry.path)
        parent, name = os.path.split(path)
        if parent not in listings:
            try:
                with os.scandir(parent) as found:
                    listings[parent] = {item.name for item in found}
            except (FileNotFoundError, NotADirectoryError):
                listings[parent] = set()
        # The second look is for file systems that ignore upper and lower case.
        if name not in listings[parent] and not os.path.exists(path):
            missing.append((entry.where, path))
    if missing:
        shown = '\n'.join(f'  {where}: {path}' for where, path in missing[:3])
        raise MissingFileError(
            f'{len(missing)} listed images do not exist, the first ones are\n{shown}\n'
            f'Unpack the images there or correct the list. {LAYOUTS}'
        )
