# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The configs of the tree by name, read quickly."""

import copy
import re
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from mmvpt.datasets import FGVC, VTAB1k
from mmvpt.zoo.methods import PAPERS

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(
    path
    for path in (ROOT / 'configs').rglob('*.py')
    if not {'_base_', 'own', 'search', 'suites'}
    & set(path.relative_to(ROOT / 'configs').parts)
)
NAME = re.compile(
    r'(?P<method>(vpt|gatedvpt|vapt|davpt|e2vpt|cvpt|sa2vp|linear|mlp|full|bias|partial|lora|adapter|ssf)(-\w+)?)'
    r'_vit-base-p16_(?P<backbone>[\w-]+)_(?P<task>[a-z0-9-]+)'
)


class Named(NamedTuple):
    """What the name of a config says."""

    path: Path
    method: str
    backbone: str
    task: str

    @property
    def is_vtab(self):
        """Tell VTAB-1k from FGVC."""
        return self.task.startswith('vtab-')

    @property
    def key(self):
        """The dataset's name of the task."""
        return self.task.removeprefix('vtab-').replace('-', '_')

    @property
    def num_classes(self):
        """The number of classes of the task."""
        return (VTAB1k if self.is_vtab else FGVC).TASKS[self.key].num_classes

    @property
    def kind(self):
        """What configs that differ in the task alone have in common."""
        return self.method, self.backbone, self.is_vtab


def named(path):
    """Return what the name of a config of the zoo says, None for another config."""
    match = NAME.fullmatch(path.stem)
    return Named(path, **match.groupdict()) if match else None


ZOO = [name for name in map(named, CONFIGS) if name is not None]
#: Method and backbone of the zoo's configs of methods that do not cover every task.
FIELD = [
    (config.method, config.backbone)
    for paper in PAPERS.values()
    for config in paper.configs()
    if not NAME.fullmatch(config.name)
]
OTHERS = [path for path in CONFIGS if named(path) is None]


def load(path):
    """Read a config; a file that several inherit is parsed once."""
    parse, Config._file2dict = Config._file2dict, staticmethod(_parse)
    try:
        return Config.fromfile(path)
    finally:
        Config._file2dict = parse


def _parse(filename, *args, **kwargs):
    name = str(Path(filename).resolve())
    if name not in _PARSED:
        _PARSED[name] = _FILE2DICT(filename, *args, **kwargs)
    content, text, variables = _PARSED[name]
    return copy.deepcopy(content), text, dict(variables)


_FILE2DICT = Config._file2dict
_PARSED = {}
