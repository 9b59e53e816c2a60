# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Whether a config that came with a file may be built.

``Registry.build`` imports and calls whatever ``type`` names, ``os.system`` included.
So the config inside a checkpoint may name only registered models and transforms of the
modules listed here. A config that is given as a file is not restricted: whoever names
it runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from mmengine.registry import Registry

from mmvpt.checkpoint import CheckpointError
from mmvpt.checkpoint.config_data import dicts

SCOPES = ('mmvpt', 'mmpretrain', 'mmseg', 'mmcv', 'mmengine')
#: Scopes that types may name in front.
PREFIXES = (*SCOPES, 'mmdet')
#: Where the classes must be defined that a config in a file may name.
MODULES = (
    'mmvpt.models.',
    'mmvpt.datasets.transforms.',
    'mmpretrain.models.classifiers.image.',
    'mmpretrain.models.heads.',
    'mmpretrain.models.losses.',
    'mmpretrain.models.necks.',
    'mmpretrain.models.utils.batch_augments.',
    'mmpretrain.models.utils.clip_generator_helper.',  # QuickGELU
    'mmpretrain.models.utils.data_preprocessor',
    'mmpretrain.models.utils.norm',
    'mmpretrain.models.utils.layer_scale',
    'mmpretrain.datasets.transforms.',
    'mmseg.models.data_preprocessor',
    'mmseg.models.decode_heads.',
    'mmseg.models.losses.',
    'mmseg.models.necks.',
    'mmseg.models.segmentors.',
    'mmseg.structures.sampler.',
    'mmseg.datasets.transforms.',
    # Parts of Mask2Former.
    'mmdet.models.dense_heads.mask2former_head.',
    'mmdet.models.layers.msdeformattn_pixel_decoder.',
    'mmdet.models.losses.',
    'mmdet.models.task_modules.assigners.',
    'mmdet.models.task_modules.samplers.',
    'mmcv.cnn.',
    'mmcv.transforms.',
    'mmengine.model.',
    'mmengine.utils.dl_utils.parrots_wrapper.',  # SyncBN
    'torch.nn.modules.',
)
# These build what a string names outside the registries, fetch code, or unpickle files.
_REFUSED = (
    'Albu',
    'Albumentations',
    'AlbuKeypoint',
    'LoadBiomedicalAnnotation',
    'LoadBiomedicalData',
    'LoadBiomedicalImageFromFile',
    'LoadDepthAnnotation',
    'SeqGenerationHead',
    'VQAGenerationHead',
)
_REFUSED_KEYS = ('custom_imports', 'trust_remote_code')
# Losses of mmseg unpickle the file, or the URL, that a string names here.
_NO_FILES = ('class_weight',)
#: Parts of a config that are built to predict.
BUILT = ('model', 'data_preprocessor', 'test_pipeline', 'test_dataloader')


def vet(config: Mapping[str, Any]) -> None:
    """Refuse a config that names more than models and transforms.

    Args:
        config: The parts of it that will be built, as plain data.

    Raises:
        CheckpointError: Naming what was found and where.
    """
    scope = config.get('default_scope', 'mmengine')
    if scope not in SCOPES:
        raise _refusal('default_scope', repr(scope), f'the scopes are {SCOPES}')
    if config.get('custom_imports'):
        raise _refusal('custom_imports', 'modules to import', 'nothing is imported')
    parts = [part for key in BUILT for part in dicts(config.get(key), key)]
    named = {str(part.get('type')).partition('.')[0] for _, part in parts}
    registered = _registered({scope, 'mmvpt', 'mmengine', *named} & set(PREFIXES))
    for place, part in parts:
        for key in _REFUSED_KEYS:
            if part.get(key):
                raise _refusal(f'{place}.{key}', repr(part[key]), 'this is not allowed')
        for key in _NO_FILES:
            if isinstance(part.get(key), str):
                raise _refusal(f'{place}.{key}', repr(part[key]), 'no file is read')
        inner = part.get('_scope_')
        if inner is not None and inner not in SCOPES:
            raise _refusal(f'{place}._scope_', repr(inner), f'the scopes are {SCOPES}')
        # The data set is not built, only its pipeline.
        is_data = place.startswith('test_dataloader') and '.pipeline' not in place
        if 'type' in part and not is_data:
            _vet_type(part['type'], f'{place}.type', registered)


def _vet_type(name: Any, place: str, registered: dict[str, list[str]]) -> None:
    if not isinstance(name, str):
        raise _refusal(place, repr(name), 'types are named by strings')
    scope, _, plain = name.rpartition('.')
    if scope and scope not in PREFIXES:
        raise _refusal(place, repr(name), f'it is in none of the scopes {PREFIXES}')
    modules = registered.get(name if scope == 'mmdet' else plain)
    if not modules or plain in _REFUSED:
        raise _refusal(place, repr(name), 'it is no registered model or transform')
    outside = [m for m in modules if not f'{m}.'.startswith(MODULES)]
    if outside:
        raise _refusal(place, repr(name), f'{outside[0]} is not among what may be')


def _refusal(place: str, what: str, why: str) -> CheckpointError:
    return CheckpointError(
        f'the config in the checkpoint asks for {what} at {place}; {why}, so it was '
        'not built. If you trust its maker, get the config as a file and call '
        'mmvpt.load(CONFIG, weights=FILE).'
    )


def _registered(scopes: set[str]) -> dict[str, list[str]]:
    """Map each name that a model or pipeline can mean to the modules that define it."""
    wanted = {
        'model',
        'prompt',
        'adapter',
        'transform',
        'weight initializer',
        'task util',
        'batch augment',
        'task utils',
        'pixel sampler',
    }
    found: dict[str, list[str]] = {}
    for scope in scopes - {'mmcv'}:  # mmcv registers into mmengine's
        try:
            module = import_module(f'{scope}.registry')
        except ImportError:
            continue
        for registry in vars(module).values():
            if not isinstance(registry, Registry) or registry.name not in wanted:
                continue
            if scope == 'mmdet' and registry.name == 'transform':
                continue  # of mmdet only parts of models, whose transforms are others
            registry.import_from_location()
            for name, entry in registry.module_dict.items():
                for key in {name, f'mmdet.{name}'} if scope == 'mmdet' else {name}:
                    modules = found.setdefault(key, [])
                    if entry.__module__ not in modules:
                        modules.append(entry.__module__)
    return found
