#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Split your own images and write a config for them; docs/own_data.md tells more.

DATA is a folder with one folder of images for each class, a CSV file with an image and
its class on each line, or a folder with images and masks. Nothing in it is changed.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmengine.config import Config  # noqa: E402

from mmvpt.checkpoint import CheckpointError  # noqa: E402
from mmvpt.datasets import own  # noqa: E402
from mmvpt.datasets.own.found import first_few  # noqa: E402
from mmvpt.datasets.own.lists import check_target  # noqa: E402
from mmvpt.datasets.prepare import RefusedError  # noqa: E402
from mmvpt.weights.names import SCHEME, commands, known_checkpoint, resolve  # noqa: E402
from mmvpt.zoo import own as recipe  # noqa: E402
from mmvpt.zoo import own_masks  # noqa: E402

TABLES = ('.csv', '.tsv')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='\n'.join(
            f'methods for {kind}, and their backbones, the first one the default:\n'
            + '\n'.join(
                f'  {m}: {", ".join(b)}' for m, b in recipe.available(kind).items()
            )
            for kind in recipe.TASKS
        ),
    )
    parser.add_argument('data', help='folder or CSV file, only read')
    parser.add_argument('--name', help='of the task [that of DATA]')
    parser.add_argument('--method', default='davpt-plus', help='[davpt-plus]')
    parser.add_argument('--backbone', help="[the method's first one]")
    parser.add_argument('--out', help='the config [configs/own/NAME.py]')
    parser.add_argument('--lists', help='folder for the lists [data/own/NAME]')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace an earlier config and lists'
    )
    split = parser.add_argument_group('split')
    split.add_argument('--val', type=float, default=0.15, help='share [0.15]')
    split.add_argument('--test', type=float, default=0.15, help='share, or 0 [0.15]')
    split.add_argument('--seed', type=int, default=0, help='another split [0]')
    classes = parser.add_argument_group('classification')
    classes.add_argument(
        '--group-below',
        type=int,
        default=0,
        metavar='N',
        help='join classes with fewer than N images into one',
    )
    classes.add_argument('--group-name', default='other', help='its name [other]')
    classes.add_argument(
        '--skip-unreadable',
        action='store_true',
        help='leave out images that cannot be decoded',
    )
    classes.add_argument('--image-root', help="folder of a CSV file's paths [its own]")
    classes.add_argument('--image-column', help='of a CSV file [found by name]')
    classes.add_argument('--label-column', help='of a CSV file [found by name]')
    masks = parser.add_argument_group('segmentation')
    masks.add_argument('--masks', help='folder of the masks, if DATA is that of images')
    masks.add_argument(
        '--mask-suffix', help="such as _mask.png, after an image's name [found]"
    )
    masks.add_argument(
        '--classes', help='file with a name on each line, line 1 for value 0 [numbers]'
    )
    masks.add_argument(
        '--ignore-zero',
        action='store_true',
        help='value 0 does not count and 1 is the first class, as in ADE20K',
    )
    masks.add_argument(
        '--palette-masks',
        action='store_true',
        help='palette images are fine: their indices are the classes',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> Path:
    """Read the data, split it, write lists and config, print what comes next.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The config.
    """
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    try:
        return _write(args, argv)
    except (RefusedError, OSError) as error:
        sys.exit(f'new_task.py: error: {error}')


def _write(args: argparse.Namespace, argv: Sequence[str]) -> Path:
    data = Path(args.data).expanduser()
    name = args.name or re.sub(r'[^\w.-]+', '-', Path(os.path.abspath(data)).stem)
    if not re.fullmatch(r'\w[\w.-]*', name):
        raise RefusedError(
            f'{name!r} is no good name of a task. Give --name with letters, digits, '
            'hyphens and underscores.'
        )
    out = Path(args.out or f'configs/own/{name}.py').expanduser()
    lists = Path(args.lists or f'data/own/{name}').expanduser()
    if out.suffix != '.py':
        raise RefusedError(f'--out {out} must end in .py.')
    if out.exists() and not args.overwrite:
        raise RefusedError(
            f'{out} exists. Replace it with --overwrite, or give another --name.'
        )
    folders = None if _is_table(data) else own.find_folders(data, args.masks)
    kind = 'classification' if folders is None else 'segmentation'
    _check_options(args, data, kind)
    # Paths of a CSV file may begin anywhere, such as in the working directory.
    check_target(lists, folders or ([] if _is_table(data) else [data]), args.overwrite)
    base = recipe.choose(args.method, args.backbone, kind)
    read = _read_classes if folders is None else _read_masks
    root, classes, splits, notes, compose = read(args, folders or data)
    counts = {split: len(part) for split, part in splits.items()}
    task = recipe.OwnTask(
        name=name,
        lists=recipe.relative(lists),
        images=recipe.relative(root),
        classes=classes,
        counts=counts,
        command=shlex.join(['python', 'tools/new_task.py', *argv]),
    )
    config = _put(out, lists, compose(task, base, out), own.Lists(classes, splits))
    for note in notes:
        print(f'note: {note}')
    numbers = ', '.join(f'{split} {count}' for split, count in counts.items())
    print(f'{len(classes)} classes, {numbers} images: {lists}')
    print(f'config: {out}, from {recipe.shown(base)}')
    _print_commands(config, out)
    return out


def _check_options(args: argparse.Namespace, data: Path, kind: str) -> None:
    """Refuse options that would not be read."""
    table = ('image_root', 'image_column', 'label_column')
    masks = ('masks', 'mask_suffix', 'classes', 'ignore_zero', 'palette_masks')
    if kind == 'segmentation':
        foreign, meant = (*table, 'group_below', 'skip_unreadable'), 'class folders'
    elif _is_table(data):
        foreign, meant = masks, 'images and masks'
    else:
        foreign, meant = (*masks, *table), 'images and masks or a CSV file'
    for option in foreign:
        if getattr(args, option):
            raise RefusedError(
                f'--{option.replace("_", "-")} is for {meant}; {data} was read as '
                f'{kind} {"from a CSV file" if _is_table(data) else "from folders"}.'
            )


class Read(NamedTuple):
    """What was read, split, and is to be written."""

    root: Path  # folder of the images
    classes: list[str]
    splits: dict[str, list[str]]  # lines of the lists
    notes: list[str]
    compose: Callable[[recipe.OwnTask, Path, Path], str]  # the text of the config


def _read_classes(args: argparse.Namespace, data: Path) -> Read:
    if _is_table(data):
        columns = (args.image_column, args.label_column)
        found = own.read_table(data, args.image_root, *columns)
    else:
        found = own.read_folder(data)
    if args.group_below:
        own.group_rare(found, args.group_below, args.group_name)
    digests = _leave_out_unreadable(found, args.skip_unreadable)
    splits = own.split_images(found, args.val, args.test, args.seed)
    _note_copies(found, splits, digests)
    classes = list(found.by_label())
    labels = {name: label for label, name in enumerate(classes)}
    lines = {
        split: [f'{image.path} {labels[image.label]}' for image in part]
        for split, part in splits.items()
    }
    return Read(found.root, classes, lines, found.notes, recipe.classification)


def _read_masks(args: argparse.Namespace, folders: tuple[Path, Path]) -> Read:
    found = own.find_pairs(*folders, args.mask_suffix)
    names = None if args.classes is None else own.read_names(args.classes)
    classes = own.read_masks(found, names, args.ignore_zero, args.palette_masks)
    paths = [f'{name}{found.image_suffix}' for name in found.splits]
    _refuse_unreadable(found.images, paths)
    splits = own.split_pairs(
        found.classes, found.splits, args.val, args.test, args.seed
    )
    compose = partial(own_masks.segmentation, found, args.ignore_zero)
    return Read(found.images, classes, splits, found.notes, compose)


def _is_table(data: Path) -> bool:
    return data.suffix.lower() in TABLES


def _refuse_unreadable(root: Path, paths: Sequence[str], hint: str = '') -> dict:
    """Decode all images and return digests of their bytes.

    Raises:
        RefusedError: If one cannot be decoded.
    """
    problems, digests = own.check_images(root, paths)
    if problems:
        raise RefusedError(
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


def _note_copies(
    found: own.Found,
    splits: Mapping[str, Sequence[own.OwnImage]],
    digests: Mapping[str, str],
) -> None:
    """Say which training images are, byte for byte, held-out images too."""
    train = {digests[image.path]: image.path for image in splits['train']}
    copies = [
        f'{image.path} ({split}) = {train[digests[image.path]]}'
        for split in ('val', 'test')
        for image in splits.get(split, ())
        if digests[image.path] in train
    ]
    if copies:
        found.notes.append(
            f'{len(copies)} images of val and test are copies of training images, so '
            f'results will look better than they are:\n{first_few(copies)}'
        )


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


def _print_commands(config: Config, out: Path) -> None:
    """Print the commands from weights to predictions."""
    path, work_dir = shlex.quote(str(out)), shlex.quote(f'work_dirs/{out.stem}')
    last = f'{work_dir}/{recipe.last_checkpoint(config)}'
    weights = config.model.backbone.init_cfg.checkpoint
    print('\nNext:')
    if weights.startswith(SCHEME):
        known = known_checkpoint(weights)
        try:
            resolve(weights)
        except CheckpointError:
            print(f'  # once, the weights of the backbone ({known.licence})')
            print(commands(known, f'checkpoints/{known.name}.pth'))
    print('  # train, test, predict')
    print(f'  python tools/train.py {path}')
    print(f'  python tools/test.py {path} {last}')
    print(f'  python tools/predict.py {last} IMAGES --out predictions')


if __name__ == '__main__':
    main()
