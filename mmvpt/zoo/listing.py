# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What lists the configs: docs/model_zoo.md, metafiles, the model index, counts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import ModuleType

from mmengine.fileio import dump

from .tables import BACKBONES, MEANS, PUBLISHED, TASKS, Config, published

#: In the head of every config of the tables, and in front of what is written here.
MARK = 'Written by tools/zoo.py'
BEGIN = f'<!-- {MARK}; what is above this line is not. -->\n'
PAGE = 'docs/model_zoo.md'
#: What the last part of the name of a config for segmentation stands for.
SEGMENTATION = {'ade20k': 'ADE20K', 'pascal-context': 'Pascal Context'}


def listings(
    root: Path, methods: Sequence[ModuleType], present: Sequence[str]
) -> dict[str, str]:
    """Return the text of every listing, by path.

    Args:
        root: The tree.
        methods: The modules of this folder, one for each folder of configs.
        present: Paths of the configs of the tables.
    """
    files = {}
    for method in methods:
        files[f'configs/{method.FOLDER}/metafile.yml'] = _metafile(
            root, method, present
        )
    files['model-index.yml'] = _yaml(dict(Import=list(files)))
    page = (root / PAGE).read_text(encoding='utf-8')
    files[PAGE] = page.split(BEGIN)[0] + BEGIN + '\n'.join(_page(root, methods)) + '\n'
    return files


def counts(root: Path, methods: Sequence[ModuleType]) -> list[str]:
    """Return lines that say how many configs, methods and tasks there are."""
    configs = [config for method in methods for config in method.configs()]
    names = [name for method in methods for name in method.METHODS]
    paths = {f'configs/{m.FOLDER}/{c.name}.py' for m in methods for c in m.configs()}
    others = sum(len(_others(root, method, paths)) for method in methods)
    benchmarks = [task.benchmark for task in TASKS.values()]
    lines = [
        f'configs   {len(configs)} from the tables, {others} others',
        f'methods   {len(names)}',
        f'tasks     {len(TASKS)}: {benchmarks.count("fgvc")} of FGVC, '
        f'{benchmarks.count("vtab")} of VTAB-1k',
    ]
    for name in names:
        of_method = [config for config in configs if config.method == name]
        per = [
            f'{sum(c.backbone == backbone for c in of_method)} {backbone}'
            for backbone in BACKBONES
            if any(c.backbone == backbone for c in of_method)
        ]
        lines.append(f'  {name:<16}  {len(of_method):>3}: {", ".join(per)}')
    return lines


def _others(root: Path, method: ModuleType, present: Collection[str]) -> list[str]:
    """Return the paths of the configs of a folder that no table has."""
    paths = sorted((root / 'configs' / method.FOLDER).glob('*.py'))
    names = [path.relative_to(root).as_posix() for path in paths]
    texts = [path.read_text(encoding='utf-8') for path in paths]
    return [n for n, t in zip(names, texts) if n not in present and MARK not in t]


def _metafile(root: Path, method: ModuleType, present: Sequence[str]) -> str:
    """Return the metafile of a folder. No result is measured yet."""
    models = [
        dict(
            Name=config.name,
            Metadata={
                'Training Data': config.task.title,
                'Pretraining': BACKBONES[config.backbone],
            },
            **_model(method, f'configs/{method.FOLDER}/{config.name}.py'),
        )
        for config in method.configs()
    ]
    for path in _others(root, method, present):
        name = Path(path).stem
        data = SEGMENTATION.get(name.rsplit('_', 1)[-1])
        metadata = {'Training Data': data, 'Task': 'Semantic Segmentation'}
        known = dict(Metadata=metadata) if data else {}
        models.append(dict(Name=name, **known, **_model(method, path)))
    collection = {
        'Name': method.NAME,
        'Metadata': {
            'Training Techniques': method.TECHNIQUES,
            'Architecture': ['Vision Transformer'],
        },
        'Paper': {'Title': method.TITLE, 'URL': method.URL},
        'README': method.README,
    }
    return _yaml(dict(Collections=[collection], Models=models))


def _model(method: ModuleType, path: str) -> dict[str, str | None]:
    return {'In Collection': method.NAME, 'Results': None, 'Config': path}


def _yaml(content: dict) -> str:
    text = dump(content, file_format='yaml', sort_keys=False, width=88)
    return f'# {MARK}.\n{text}'


def _page(root: Path, methods: Sequence[ModuleType]) -> Iterator[str]:
    """Yield the lines of the part of the page that is written here."""
    yield '\n## How many\n'
    yield '`python tools/zoo.py --count` prints\n'
    yield from ('```', *counts(root, methods), '```')
    for method in methods:
        configs = {(c.method, c.backbone, c.task.name): c for c in method.configs()}
        columns = list(dict.fromkeys(key[:2] for key in configs))
        if not columns:
            continue
        yield f'\n## {method.NAME}\n'
        yield f'[{method.TITLE}]({method.URL})\n'
        titles = (f'{name}<br>{backbone}' for name, backbone in columns)
        yield f'| task | {" | ".join(titles)} |'
        yield f'|---{"|---" * len(columns)}|'
        for group in MEANS:
            for task in TASKS.values():
                if task.group == group:
                    found = [configs.get((*c, task.name)) for c in columns]
                    if any(found):
                        cells = (_cell(method, config) for config in found)
                        yield f'| {task.title} | {" | ".join(cells)} |'
            means = [PUBLISHED.get((*column, group), '') for column in columns]
            if any(means):
                yield f'| *{MEANS[group]}* | {" | ".join(means)} |'


def _cell(method: ModuleType, config: Config | None) -> str:
    if config is None:
        return ''
    figure = published(config.method, config.backbone, config.task)[0]
    link = f'../configs/{method.FOLDER}/{config.name}.py'
    return f'[{figure or "config"}]({link})'
