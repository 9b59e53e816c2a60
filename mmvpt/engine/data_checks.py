# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What is looked at before a run: files, classes, and whether heads can learn."""

from __future__ import annotations

import inspect
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner
from torch import nn

from mmvpt.checkpoint.meaning import num_classes
from mmvpt.datasets.image_files import is_cut_off, is_leftover, read_header
from mmvpt.datasets.listed import Entry, ListedDataset, check_files
from mmvpt.datasets.prepare.images import SUFFIXES
from mmvpt.errors import MissingFileError, UserError

from .check_rules import find

STAGES = ('train', 'val', 'test')
#: Of data sets with more files, damage is noticed at the sample, not before.
MAX_OPENED = 50_000
_PATHS = ('img_path', 'seg_map_path')
# Where errors come from that are about one sample.
_LIBRARIES = {'mmcv', 'mmseg', 'mmpretrain', 'mmengine', 'PIL'}
_IGNORED = 255  # what mmseg leaves out by default


def check_run(runner: Runner) -> None:
    """Check the data and the heads of a run that was built."""
    check_heads(runner.model)
    check_ignored(runner.model, runner.cfg)
    # Training does not read test data, which need not be there yet.
    stages = STAGES[:2] if runner.cfg.get('train_dataloader') else STAGES[2:]
    found = [data for stage in stages for data in _read_stage(runner.cfg, stage)]
    check_classes([(place, data) for place, _, data in found])
    for place, settings, data in found:
        _check_labels(place, data, num_classes(runner.model))
        _check_files(runner, place, settings, data)


def image_paths(config: Config, stage: str) -> list[str]:
    """Return the images of a stage in the order of its data sets."""
    read = _read_stage(config, stage)
    return [info['img_path'] for _, _, data in read for info in data.found]


def _read_stage(
    config: Config, stage: str
) -> list[tuple[str, Mapping[str, Any], BaseDataset]]:
    """Read the lists and folders of the data sets of a loader."""
    place = f'{stage}_dataloader.dataset'
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        read = [
            (place, settings, _read(place, settings))
            for settings in _data_sets(config.get(f'{stage}_dataloader') or {})
        ]
    return [item for item in read if item[2] is not None]


def _data_sets(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the configs of the data sets of a loader, those inside of others too."""
    inner = part.get('dataset', part.get('datasets'))
    if inner is None:
        if 'type' in part:
            yield part
    else:
        for item in inner if isinstance(inner, (list, tuple)) else [inner]:
            if isinstance(item, Mapping):
                yield from _data_sets(item)


def _read(place: str, settings: Mapping[str, Any]) -> BaseDataset | None:
    """Return a data set that has read its lists and folders, None for other classes."""
    kind = settings['type']
    with DATASETS.switch_scope_and_registry(settings.get('_scope_')) as registry:
        cls = registry.get(kind) if isinstance(kind, str) else kind
    if not inspect.isclass(cls) or not issubclass(cls, BaseDataset):
        return None
    changes = dict(lazy_init=True, pipeline=[])
    if settings.get('cache_images'):
        changes['cache_images'] = False
    data = DATASETS.build({**settings, **changes})
    for name, folder in (getattr(data, 'data_prefix', None) or {}).items():
        if _is_local(folder) and not os.path.exists(folder):
            raise MissingFileError(
                f'{place}: the folder {folder} ({name} of {cls.__name__}) does not '
                'exist. Correct data_root or data_prefix.'
            )
    try:
        data.found = data.load_data_list()
    except UserError:
        raise
    except (OSError, AssertionError, RuntimeError, ValueError) as error:
        raise UserError(f'{place} ({cls.__name__}) cannot be read: {error}') from error
    if not data.found:
        folder = (getattr(data, 'data_prefix', None) or {}).get('img_path', '')
        ending = getattr(data, 'img_suffix', '')
        raise UserError(
            f'{place} ({cls.__name__}) has no image: it looked in {folder or "nothing"}'
            f'{f" for files that end in {ending}" if ending else ""}. Correct the '
            'folder, the ending (img_suffix) or the list (ann_file).'
        )
    return data


def _is_local(path: Any) -> bool:
    return isinstance(path, str) and bool(path) and '://' not in path


def check_classes(read: Sequence[tuple[str, BaseDataset]]) -> None:
    """Compare the names of the classes and their order.

    Args:
        read: Data sets that have read their folders, with their places in the config.
    """
    first: tuple[str, BaseDataset, list[str]] | None = None
    for place, data in read:
        given = data.metainfo.get('classes') or ()
        classes = [str(name) for name in given]
        left = [name for name in classes if is_leftover(name)]
        if left:
            raise UserError(
                f'{place}: {left[0]!r} is no class but what a system left behind. '
                'Delete this folder.'
            )
        twice = [name for name in classes if classes.count(name) > 1]
        if isinstance(given, str) or twice:
            raise UserError(
                f'{place}: metainfo.classes must be a list of names that differ, got '
                f'{given!r}.'
            )
        if not classes and hasattr(data, 'label_map'):
            raise UserError(
                f'{place} ({type(data).__name__}) has no names of classes, which '
                "metrics need. Give metainfo=dict(classes=('a', 'b', ...))."
            )
        for colour in data.metainfo.get('palette') or ():
            _check_colour(colour, f'{place}: metainfo.palette')
        if not classes:
            continue
        if first is None:
            first = place, data, classes
            continue
        other, before, known = first
        compare_classes(known, classes, other, place)
        zero = [bool(getattr(d, 'reduce_zero_label', False)) for d in (before, data)]
        if zero[0] != zero[1]:
            raise UserError(
                f'{other} has reduce_zero_label={zero[0]}, {place} has {zero[1]}: the '
                'same value would be another class. Give both the same.'
            )


def _check_labels(place: str, data: BaseDataset, count: int | None) -> None:
    """Refuse labels that are no classes, and folders that are called by others."""
    names = data.metainfo.get('classes') or ()
    folders = list(getattr(data, 'folder_to_idx', None) or ())
    if names and set(names) == set(folders):
        compare_classes(folders, names, f'the folders of {place}', 'its metainfo')
    count = len(names) or count or 0
    for info in data.found if count else ():
        labels = info.get('gt_label')
        for label in labels if isinstance(labels, (list, tuple)) else [labels]:
            if isinstance(label, int) and label not in range(count):
                raise UserError(
                    f'{place}: label {label} of {info.get("img_path")} is outside '
                    f'0..{count - 1} ({count} classes). Correct the list (ann_file).'
                )


def _check_colour(colour: Any, place: str) -> None:
    parts = colour if isinstance(colour, (list, tuple, np.ndarray)) else ()
    if len(parts) != 3 or not all(
        isinstance(v, (int, np.integer)) and 0 <= v <= 255 for v in parts
    ):
        raise UserError(
            f'{place}: a colour is (R, G, B), each from 0 to 255, got {colour!r}.'
        )


def compare_classes(
    one: Sequence[str], other: Sequence[str], where: str, elsewhere: str
) -> None:
    """Raise UserError if two lists of class names differ.

    Args:
        one: The names, in the order of their labels.
        other: Those of something else.
        where: What has the first ones.
        elsewhere: What has the others.
    """
    for label, names in enumerate(zip(one, other)):
        if names[0] != names[1]:
            raise UserError(
                f'the classes of {where} and of {elsewhere} differ: label {label} is '
                f'{names[0]!r} in the first and {names[1]!r} in the second. Give both '
                'the same classes in the same order.'
            )
    if len(one) != len(other):
        raise UserError(
            f'{where} has {len(one)} classes and {elsewhere} has {len(other)}. Give '
            'both the same classes in the same order.'
        )


def check_heads(model: nn.Module) -> None:
    """Refuse heads whose loss is the same whatever they say.

    The softmax over one value is 1.
    """
    for name, head in model.named_modules():
        loss = getattr(head, 'loss_decode', getattr(head, 'loss_module', None))
        outputs = getattr(head, 'out_channels', getattr(head, 'num_classes', None))
        if outputs != 1 or not isinstance(loss, nn.Module):
            continue
        several = hasattr(head, 'thr')  # multi-label heads: a sigmoid for each class
        losses = list(loss) if isinstance(loss, nn.ModuleList) else [loss]
        sigmoid = all(map(_is_sigmoid, losses))
        binary = hasattr(head, 'out_channels') and head.num_classes == 2
        if sigmoid and (several or binary):
            continue
        why = 'a softmax, which is 1 whatever the model says'
        why = 'pixels of class 0 alone to learn from' if sigmoid else why
        raise UserError(
            f'model.{name} has num_classes={head.num_classes} and one output with '
            f'{why}: it would learn nothing, with loss 0. Count the background as '
            'a class: num_classes=2; in a decode head out_channels=1 with '
            'use_sigmoid=True in the loss gives one output for two classes.'
        )


def _is_sigmoid(loss: nn.Module) -> bool:
    return type(loss).__name__ in ('FocalLoss', 'AsymmetricLoss') or any(
        getattr(part, 'use_sigmoid', False) for part in loss.modules()
    )


def check_ignored(model: nn.Module, config: Config) -> None:
    """Compare what heads, metrics and checks leave out of masks."""
    found: list[tuple[str, int]] = []
    classes = 0
    for name, module in model.named_modules():
        if hasattr(module, 'loss_decode') and hasattr(module, 'ignore_index'):
            found.append((f'model.{name}', module.ignore_index))
            classes = max(classes, module.num_classes)
    if not found:
        return
    padding = getattr(getattr(model, 'data_preprocessor', None), 'seg_pad_val', None)
    filled = [('model.data_preprocessor.seg_pad_val', padding)]
    for stage in STAGES:
        if not config.get(f'{stage}_dataloader'):
            continue
        metrics = config.get(f'{stage}_evaluator') or []
        for metric in metrics if isinstance(metrics, (list, tuple)) else [metrics]:
            if isinstance(metric, Mapping) and str(metric.get('type')).endswith(
                'IoUMetric'
            ):
                ignored = metric.get('ignore_index', _IGNORED)
                found.append((f'{stage}_evaluator', ignored))
        for data in _data_sets(config[f'{stage}_dataloader']):
            place = f'CheckSegMap of {stage}_dataloader.dataset.pipeline'
            found += [
                (place, step.get('ignore_index', _IGNORED))
                for step in data.get('pipeline') or ()
                if str(step.get('type')).endswith('CheckSegMap')
            ]
            if data.get('reduce_zero_label'):
                found.append((f'{stage}_dataloader, reduce_zero_label', _IGNORED))
            if 'ignore_index' in data:
                found.append((f'{stage}_dataloader.dataset', data['ignore_index']))
            for key in ('seg_pad_val', 'seg_fill_in', 'seg'):  # the last in a pad_val
                place = f'{stage}_dataloader.dataset.pipeline'
                filled += find(data.get('pipeline'), key, place)
    first, ignored = found[0]
    for place, value in filled:
        if value != ignored and value in range(classes):
            raise UserError(
                f'{place} is {value}, so padding would count as class {value}: {first} '
                f'has ignore_index={ignored}. Give {ignored}.'
            )
    for place, value in found:
        if value != ignored:
            raise UserError(
                f'{first} has ignore_index={ignored}, but for {place} it is {value}: '
                'pixels that do not count for one would count for the other. Give all '
                'of them the same ignore_index.'
            )


class NamedFiles:
    """Loads samples of a data set, and names the files of one that fails.

    Args:
        data: The data set.
    """

    def __init__(self, data: BaseDataset) -> None:
        self.data = data

    def __call__(self, idx: int) -> Any:
        """Return the sample at ``idx`` as the pipeline makes it.

        Raises:
            UserError: If a step of OpenMMLab's fails.
        """
        try:
            return type(self.data).prepare_data(self.data, idx)
        except UserError:
            raise
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            if not _LIBRARIES & set(Path(last.filename).parts):
                raise  # the user's code, or ours
            info = self.data.get_data_info(idx)
            names = ' or '.join(info[key] for key in _PATHS if key in info)
            header = read_header(info['img_path'])
            size = f' ({header.shown[0]}x{header.shown[1]} pixels)' if header else ''
            reason = ' '.join(str(error).split())
            raise UserError(
                f'{names}{size} cannot be loaded: {type(error).__name__}: {reason}. '
                'Replace it, or take it out of the data.'
            ) from error


def name_files(data: Any) -> None:
    """Let a data set, and those inside of it, name files that cannot be read."""
    inner = getattr(data, 'datasets', None) or [getattr(data, 'dataset', None)]
    for part in inner:
        if part is not None:
            name_files(part)
    if isinstance(data, BaseDataset):
        data.prepare_data = NamedFiles(data)


def _check_files(
    runner: Runner, place: str, settings: Mapping[str, Any], data: BaseDataset
) -> None:
    """Name files that are missing or cut off, and masks that may not fit."""
    paths = {
        (key, info[key])
        for info in data.found
        for key in _PATHS
        if _is_local(info.get(key))
    }
    if not isinstance(data, ListedDataset):  # it has looked itself
        for key in _PATHS:
            listed = sorted(path for kind, path in paths if kind == key)
            check_files('', [Entry(path, 0, f'{place}, {key}') for path in listed])
    if len(paths) > MAX_OPENED:
        return
    ordered = [path for _, path in sorted(paths)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        reasons = dict(zip(ordered, pool.map(_damage, ordered)))
    damaged = [path for path in ordered if reasons[path]]
    if damaged:
        path, more = damaged[0], len(damaged) - 1
        others = f' {more} others are damaged too.' if more else ''
        raise UserError(
            f'{place}: {path} ({os.path.getsize(path)} bytes) is {reasons[path]}. '
            f'Fetch it again, or take it out of the data.{others}'
        )
    steps = [step for step in settings.get('pipeline') or () if 'type' in step]
    if any('drawn_on' in step for step in steps):
        return
    images = [info['img_path'] for info in data.found if 'seg_map_path' in info]
    headers = ((path, read_header(path)) for path in images if _is_local(path))
    turned = [path for path, header in headers if header and header.orientation > 1]
    if turned:
        runner.logger.warning(
            f'{place}: {len(turned)} images have an EXIF orientation, such as '
            f'{turned[0]}. They are read as they are shown, so their masks must have '
            'been drawn on that; if they were drawn on the pixels as stored, load them '
            "with dict(type='mmvpt.LoadSegMap', drawn_on='stored')."
        )


def _damage(path: str) -> str:
    """Say why an image cannot be read, '' if it may."""
    if is_cut_off(path):
        return 'cut off: its end is missing'
    known = not path.lower().endswith(SUFFIXES) or cv2.haveImageReader(path)
    return '' if known or read_header(path) else 'no image'
