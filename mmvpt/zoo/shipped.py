# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Which methods and backbones the zoo has, told by the names of its configs."""

from __future__ import annotations

import re
from pathlib import Path

from mmvpt.files import ROOT

BACKBONES = {
    'in21k': 'supervised ImageNet-21k ViT-B/16',
    'augreg-in21k': 'supervised ImageNet-21k ViT-B/16 (AugReg)',
    'mae': 'MAE ViT-B/16',
    'mocov3': 'MoCo v3 ViT-B/16',
}
#: The zoo's tasks whose pre-processing and values own data inherits: photographs.
TASKS = dict(classification='cub', segmentation='ade20k')
#: The demo's small ViT, to try things without a download.
DEMO = 'vit-digits'
#: Config whose name says neither method nor decoder.
NAMES = {'ade20k': 'davpt-plus_upernet-vit-base-p16_ade20k'}
_NAME = re.compile(r'(?P<method>[a-z0-9+-]+)_(vit-base-p16_)?(?P<backbone>[\w-]+)_\w+')


def available(kind: str = 'classification') -> dict[str, dict[str, Path]]:
    """Return the configs that own tasks can inherit: method, backbone, file.

    Args:
        kind: ``classification`` or ``segmentation``, where a backbone has a decoder.

    Returns:
        Methods in alphabetical order, backbones in the order of preference.
    """
    found: dict[str, dict[str, Path]] = {}
    for path in sorted((ROOT / 'configs').glob(f'*/*{TASKS[kind]}.py')):
        match = _NAME.fullmatch(NAMES.get(path.stem, path.stem))
        if match and path.parent.name not in ('_base_', 'own'):
            found.setdefault(match['method'], {})[match['backbone']] = path
    if kind == 'classification':
        for path in sorted((ROOT / 'configs').glob(f'*/*_{DEMO}_digits.py')):
            found.setdefault(path.stem.split('_')[0], {})[DEMO] = path
    return {
        method: dict(sorted(found[method].items(), key=lambda item: _rank(item[0])))
        for method in sorted(found)
    }


def _rank(backbone: str) -> tuple[int, str]:
    order = [*BACKBONES, 'upernet-vit-base-p16']
    return order.index(backbone) if backbone in order else len(order), backbone
