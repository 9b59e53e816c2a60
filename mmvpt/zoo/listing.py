# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What lists the configs: docs/model_zoo.md, metafiles, the model index, counts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.fileio import dump

from .methods import Paper
from .shipped import BACKBONES
from .tables import MEANS, PUBLISHED, TASKS, Config, published

#: In the head of every config of the tables, and in front of what is written here.
MARK = 'Written by tools/zoo.py'
BEGIN = f'<!-- {MARK}; what is above this line is not. -->\n'
PAGE = 'docs/model_zoo.md'
#: What the last part of the name of a config for segmentation stands for.
SEGMENTATION = {'ade20k': 'ADE20K', 'pascal-context': 'Pascal Context'}


def listings(
    root: Path, papers: Sequence[Paper], present: Sequence[str]
) -> dict[str, str]:
    """Return the text of every listing, by path.

    Args:
        root: The tree.
        papers: Their methods, a folder of configs each.
        present: Paths of the configs of the tables.
    """
    files = {}
    for paper in papers:
        files[f'configs/{paper.folder}/metafile.yml'] = _metafile(root, paper, present)
    files['model-index.yml'] = _yaml(dict(Import=list(files)))
    page = (root / PAGE).read_text(encoding='utf-8')
    files[PAGE] = page.split(BEGIN)[0] + BEGIN + '\n'.join(_page(root, papers)) + '\n'
    return files


def counts(root: Path, papers: Sequence[Paper]) -> list[str]:
    """Return lines that say how many configs, methods and tasks there are."""
    configs = [config for paper in papers for config in paper.configs()]
    names = [name for paper in papers for name in paper.methods]
    paths = {f'configs/{p.folder}/{c.name}.py' for p in papers for c in p.configs()}
    others = sum(len(_others(root, paper, paths)) for paper in papers)
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


def _others(root: Path, paper: Paper, present: Collection[str]) -> list[str]:
    """Return the paths of the configs of a folder that no table has."""
    paths = sorted((root / 'configs' / paper.folder).glob('*.py'))
    names = [path.relative_to(root).as_posix() for path in paths]
    texts = [path.read_text(encoding='utf-8') for path in paths]
    return [n for n, t in zip(names, texts) if n not in present and MARK not in t]


def _metafile(root: Path, paper: Paper, present: Sequence[str]) -> str:
    """Return the metafile of a folder. No result is measured yet."""
    models = [
        dict(
            Name=config.name,
            Metadata={
                'Training Data': config.task.title,
                'Pretraining': BACKBONES[config.backbone],
            },
            **_model(paper, f'configs/{paper.folder}/{config.name}.py'),
        )
        for config in paper.configs()
    ]
    for path in _others(root, paper, present):
        name = Path(path).stem
        data = SEGMENTATION.get(name.rsplit('_', 1)[-1])
        metadata = {'Training Data': data, 'Task': 'Semantic Segmentation'}
        known: dict[str, Any] = dict(Metadata=metadata) if data else {}
        models.append(dict(Name=name, **known, **_model(paper, path)))
    collection = {
        'Name': paper.name,
        'Metadata': {
            'Training Techniques': paper.techniques,
            'Architecture': ['Vision Transformer'],
        },
        'Paper': {'Title': paper.title, 'URL': paper.url},
        'README': paper.readme,
    }
    return _yaml(dict(Collections=[collection], Models=models))


def _model(paper: Paper, path: str) -> dict[str, str | None]:
    return {'In Collection': paper.name, 'Results': None, 'Config': path}


def _yaml(content: dict) -> str:
    text = dump(content, file_format='yaml', sort_keys=False, width=88)
    return f'# {MARK}.\n{text}'


def _page(root: Path, papers: Sequence[Paper]) -> Iterator[str]:
    """Yield the lines of the part of the page that is written here."""
    yield '\n## How many\n'
    yield '`python tools/zoo.py --count` prints\n'
    yield from ('```', *counts(root, papers), '```')
    for paper in papers:
        configs = {(c.method, c.backbone, c.task.name): c for c in paper.configs()}
        columns = list(dict.fromkeys(key[:2] for key in configs))
        if not columns:
            continue
        yield f'\n## {paper.name}\n'
        yield f'[{paper.title}]({paper.url})\n'
        titles = (f'{name}<br>{backbone}' for name, backbone in columns)
        yield f'| task | {" | ".join(titles)} |'
        yield f'|---{"|---" * len(columns)}|'
        for group in MEANS:
            for task in TASKS.values():
                if task.group == group:
                    found = [configs.get((*c, task.name)) for c in columns]
                    if any(found):
                        cells = (_cell(paper, config) for config in found)
                        yield f'| {task.title} | {" | ".join(cells)} |'
            means = [PUBLISHED.get((*column, group), '') for column in columns]
            if any(means):
                yield f'| *{MEANS[group]}* | {" | ".join(means)} |'


def _cell(paper: Paper, config: Config | None) -> str:
    if config is None:
        return ''
    figure = published(config.method, config.backbone, config.task)[0]
    link = f'../configs/{paper.folder}/{config.name}.py'
    return f'[{figure or "config"}]({link})'
