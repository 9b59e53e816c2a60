# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""From a user's images to lists and a config for them."""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from mmvpt.checkpoint import CheckpointError
from mmvpt.datasets import own
from mmvpt.datasets.own.found import first_few
from mmvpt.errors import UserError
from mmvpt.weights.names import SCHEME, commands, known_checkpoint, resolve

from . import own as recipe
from . import own_masks

TABLES = ('.csv', '.tsv')
METHODS = dict(one='davpt-plus', several='vpt-deep')


@dataclass
class Options:
    """What is done with a user's data.

    Args:
        data: Folder or CSV file, only read.
        name: Of the task [that of DATA].
        method: As in the names of configs [davpt-plus; with --multi-label vpt-deep].
        backbone: One of the method's, such as dinov3-b, a config, a file of weights,
            mmvpt://NAME, timm://NAME or an architecture [the method's first].
        head: Of a segmentation, instead of the one of the method's config.
        out: The config [configs/own/NAME.py].
        lists: Folder for the lists [data/own/NAME].
        overwrite: Replace an earlier config and lists.
        val: Share of validation images.
        test: Share of test images, or 0.
        seed: Another split [0].
        group_below: Join classes with fewer than N images into one.
        group_name: Its name.
        skip_unreadable: Leave out images that cannot be decoded.
        image_root: Folder of a CSV file's paths [its own].
        image_column: Of a CSV file [found by name].
        label_column: Of a CSV file [found by name].
        multi_label: Of a CSV file: images have any number of classes.
        masks: Folder of the masks, if DATA is that of images.
        mask_suffix: Such as _mask.png, after an image's name [found].
        classes: File with a name on each line, line 1 for mask value 0 [numbers].
        ignore_zero: Mask value 0 does not count and 1 is the first class, as in ADE20K.
        palette_masks: Palette images are fine: their indices are the classes.
        masks_drawn: On images as shown, or as stored before EXIF turns them [by their
            sizes].
    """

    data: str
    name: str | None = None
    method: str | None = None
    backbone: str | None = None
    head: str | None = None
    out: str | None = None
    lists: str | None = None
    overwrite: bool = False
    val: float = 0.15
    test: float = 0.15
    seed: int = 0
    group_below: int = 0
    group_name: str = 'other'
    skip_unreadable: bool = False
    image_root: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    multi_label: bool = False
    masks: str | None = None
    mask_suffix: str | None = None
    classes: str | None = None
    ignore_zero: bool = False
    palette_masks: bool = False
    masks_drawn: str | None = None


class NewTask(NamedTuple):
    """What was written."""

    path: Path  # of the config
    config: Config
    report: str  # what was read, left out and written, and what comes next


class Read(NamedTuple):
    """What was read, split, and is to be written."""

    root: Path  # folder of the images
    classes: list[str]
    lines: dict[str, list[str]]  # of the lists
    splits: dict[str, list[str]]  # names of the images
    notes: list[str]
    compose: Callable[..., str]  # the text of the config


def new_task(options: Options, command: Sequence[str] = ()) -> NewTask:
    """Read a user's data, split it, and write lists and a config.

    Args:
        options: The data and what to do with it.
        command: Arguments of the command line, to be named in the config.

    Raises:
        UserError: If the data or an option cannot be used; nothing is written then.
    """
    data = Path(options.data).expanduser()
    name = options.name or re.sub(r'[^\w.-]+', '-', Path(os.path.abspath(data)).stem)
    if not re.fullmatch(r'\w[\w.-]*', name):
        raise UserError(
            f'{name!r} is no good name of a task. Give --name with letters, digits, '
            'hyphens and underscores.'
        )
    out = Path(options.out or f'configs/own/{name}.py').expanduser()
    lists = Path(options.lists or f'data/own/{name}').expanduser()
    if out.suffix != '.py':
        raise UserError(f'--out {out} must end in .py.')
    if out.exists() and not options.overwrite:
        raise UserError(
            f'{out} exists. Replace it with --overwrite, or give another --name.'
        )
    if data.is_file() and not _is_table(data):
        raise UserError(
            f'{data} is a file that is not read. Give a folder, or a table that ends '
            f'in {" or ".join(TABLES)} (a spreadsheet can be saved as such).'
        )
    parts = None if _is_table(data) else own.find_parts(data, options.masks)
    kind = 'classification' if parts is None else 'segmentation'
    _check_options(options, data, kind)
    # Paths of a CSV file may begin anywhere, such as in the working directory.
    folders = [data] if parts is None else [f for part in parts for f in part[1:]]
    own.check_target(lists, [] if _is_table(data) else folders, options.overwrite)
    method = options.method or METHODS['several' if options.multi_label else 'one']
    inherited = recipe.choose(method, options.backbone, kind, options.head)
    if parts is None:
        read = _read_classes(options, data)
    else:
        read = _read_masks(options, data, parts)
    counts = {split: len(part) for split, part in read.lines.items()}
    task = recipe.OwnTask(
        name=name,
        lists=recipe.relative(lists),
        images=recipe.relative(read.root),
        classes=read.classes,
        counts=counts,
        splits=read.splits,
        command=shlex.join(['python', 'tools/new_task.py', *command]),
        multi_label=options.multi_label,
    )
    try:
        text = read.compose(task, inherited, out)
        config = _put(out, lists, text, own.Lists(read.classes, read.lines))
    except OSError as error:
        raise UserError(f'cannot write {out} and {lists}: {error}') from error
    numbers = ', '.join(f'{split} {count}' for split, count in counts.items())
    report = [
        *(f'note: {note}' for note in read.notes),
        f'{len(read.classes)} classes, {numbers} images: {lists}',
        f'config: {out}, from {recipe.shown(inherited)}',
        *_next(config, out),
    ]
    return NewTask(out, config, '\n'.join(report))


def _check_options(options: Options, data: Path, kind: str) -> None:
    """Refuse options that would not be read."""
    table = ['image_root', 'image_column', 'label_column', 'multi_label']
    masks = ['masks', 'mask_suffix', 'classes', 'ignore_zero', 'palette_masks']
    masks += ['masks_drawn', 'head']
    if kind == 'segmentation':
        foreign, meant = [*table, 'group_below', 'skip_unreadable'], 'class folders'
    elif _is_table(data):
        foreign, meant = masks, 'images and masks'
    else:
        foreign, meant = [*masks, *table], 'images and masks or a CSV file'
    for option in foreign:
        if getattr(options, option):
            raise UserError(
                f'--{option.replace("_", "-")} is for {meant}; {data} was read as '
                f'{kind} {"from a CSV file" if _is_table(data) else "from folders"}.'
            )


def _read_classes(options: Options, data: Path) -> Read:
    if _is_table(data):
        columns = (options.image_column, options.label_column)
        found = own.read_table(data, options.image_root, *columns, options.multi_label)
    else:
        found = own.read_folder(data)
    if options.group_below:
        own.group_rare(found, options.group_below, options.group_name)
    digests = _leave_out_unreadable(found, options.skip_unreadable)
    split = own.split_labelled if options.multi_label else own.split_images
    splits = split(found, options.val, options.test, options.seed)
    names = {s: [image.path for image in part] for s, part in splits.items()}
    own.note_copies(found.notes, names, digests)
    classes = list(found.by_label())
    found.notes += _much_alike(classes)
    order = {name: str(label) for label, name in enumerate(classes)}
    lines = {
        s: [f'{i.path} {",".join(order[n] for n in i.labels) or "-"}' for i in part]
        for s, part in splits.items()
    }
    compose = recipe.classification
    return Read(found.root, classes, lines, names, found.notes, compose)


def _read_masks(options: Options, data: Path, parts: Sequence[own.Part]) -> Read:
    found = own.find_pairs(parts, options.mask_suffix, data)
    names = None if options.classes is None else own.read_names(options.classes)
    classes = own.read_masks(
        found, names, options.ignore_zero, options.palette_masks, options.masks_drawn
    )
    paths = {key: str(pair.image) for key, pair in found.pairs.items()}
    digests = _refuse_unreadable(Path(), list(paths.values()))
    splits = own.split_pairs(
        found.classes, found.splits, options.val, options.test, options.seed
    )
    images = {split: [paths[key] for key in keys] for split, keys in splits.items()}
    own.note_copies(found.notes, images, digests)
    lines = {
        split: [found.pairs[key].name for key in keys] for split, keys in splits.items()
    }
    compose = partial(own_masks.segmentation, found, options.ignore_zero)
    return Read(parts[0].images, classes, lines, splits, found.notes, compose)


def _much_alike(classes: Sequence[str]) -> list[str]:
    """Note classes whose names differ in nothing that is seen, or in capitals alone."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        plain = unicodedata.normalize('NFKC', name).casefold()
        alike.setdefault(''.join(filter(str.isprintable, plain)), []).append(name)
    return [
        f'{" and ".join(map(ascii, names))} are classes of much the same name.'
        for names in alike.values()
        if len(names) > 1
    ]


def _is_table(data: Path) -> bool:
    return data.suffix.lower() in TABLES


def _refuse_unreadable(root: Path, paths: Sequence[str], hint: str = '') -> dict:
    """Decode all images and return digests of their bytes.

    Raises:
        UserError: If one cannot be decoded.
    """
    problems, digests = own.check_images(root, paths)
    if problems:
        raise UserError(
            f'{_unreadable(paths, problems)}\nReplace or remove them{hint}.'
        )
    return digests


def _unreadable(paths: Sequence[str], problems: Mapping[str, str]) -> str:
    listing = first_few(f'{path}: {why}' for path, why in problems.items())
    return f'{len(problems)} of {len(paths)} images cannot be decoded:\n{listing}'


def _leave_out_unreadable(found: own.Found, skip: bool) -> dict[str, str]:
    """Decode all images and return digests of those that can be."""
    paths = [image.path for image in found.images]
    if not skip:
        hint = ', or leave them out with --skip-unreadable'
        return _refuse_unreadable(found.root, paths, hint)
    problems, digests = own.check_images(found.root, paths)
    if problems:
        found.notes.append(f'left out: {_unreadable(paths, problems)}')
        found.images = [i for i in found.images if i.path not in problems]
    return digests


def _put(out: Path, lists: Path, text: str, content: own.Lists) -> Config:
    """Write lists and config, all or nothing, and return the config."""
    made = [folder for folder in out.parents if not folder.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f'.{out.stem}-{os.getpid()}.py')
    try:
        with own.write_aside(lists, content):
            aside.write_text(text, encoding='utf-8')
            config = Config.fromfile(aside)
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    return config


def _next(config: Config, out: Path) -> list[str]:
    """Return the commands from weights to predictions."""
    path, work_dir = shlex.quote(str(out)), shlex.quote(f'work_dirs/{out.stem}')
    last = f'{work_dir}/{recipe.last_checkpoint(config)}'
    init: Any = config.model.backbone.get('init_cfg') or {}
    weights = init.get('checkpoint', '')
    lines = ['\nNext:']
    if not weights:
        lines.append('  # name the weights in model.backbone.init_cfg of the config')
    if weights.startswith(SCHEME):
        known = known_checkpoint(weights)
        try:
            resolve(weights)
        except CheckpointError:
            lines += [
                f'  # once, the weights of the backbone ({known.licence})',
                commands(known, f'checkpoints/{known.name}.pth'),
            ]
    return [
        *lines,
        '  # train, test, predict',
        f'  python tools/train.py {path}',
        f'  python tools/test.py {path} {last}',
        f'  python tools/predict.py {last} IMAGES --out predictions',
    ]
