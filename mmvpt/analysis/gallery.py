# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""docs/gallery.md and its pictures, from the runs of ``make demo``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmvpt.errors import UserError

from . import reports

DEMO = 'work_dirs/demo'


@dataclass(frozen=True)
class Entry:
    """One picture, or several that one command makes.

    Args:
        title: Heading on the page.
        command: Its name.
        runs: Methods of the demo whose runs it reads.
        options: Further options, by name.
        out: Name of the files.
        more: Endings of further pictures.
    """

    title: str
    command: str
    runs: tuple[str, ...]
    options: dict[str, Any]
    out: str
    more: tuple[str, ...] = ()

    def paths(self, demo: str, seed: str) -> list[str]:
        """Return the work dirs that it reads.

        Args:
            demo: Folder of the demo.
            seed: Folder of the seed in each method's.
        """
        return [f'{demo}/{run}/{seed}' for run in self.runs]

    def draw(self, demo: str, seed: str, folder: str) -> None:
        """Do what the command does.

        Args:
            demo: Folder of the demo.
            seed: Folder of the seed in each method's.
            folder: Folder of the files.
        """
        runs = self.paths(demo, seed)
        report = getattr(reports, self.command)
        first = runs if self.command == 'curves' else runs[0]
        report(first, **self.options, out=f'{folder}/{self.out}')

    def command_line(self, seed: str) -> list[str]:
        """Return the words of the command that draws it.

        Args:
            seed: Folder of the seed in each method's.
        """
        words = ['python', f'tools/analysis/{self.command}.py', *self.paths(DEMO, seed)]
        for name, value in self.options.items():
            values = value if isinstance(value, tuple) else (value,)
            words += [f'--{name}', *map(str, values)]
        return [*words, '--out', f'analysis/{self.out}']


ENTRIES = (
    Entry(
        'Where CLS and prompts look: DA-VPT',
        'attention',
        ('davpt',),
        dict(num=5),
        'attention',
        ('_layers',),
    ),
    Entry(
        'Where CLS and prompts look: VPT-deep',
        'attention',
        ('vpt-deep',),
        dict(num=3, layer=1),
        'attention_vpt',
        ('_layers',),
    ),
    Entry('Which prompt a class has: DA-VPT', 'class_map', ('davpt',), {}, 'class_map'),
    Entry('Gates of Gated Prompt Tuning', 'gates', ('gatedvpt',), {}, 'gates'),
    Entry(
        'How alike prompts are: VPT-deep', 'similarity', ('vpt-deep',), {}, 'similarity'
    ),
    Entry(
        'How alike prompts are: Gated Prompt Tuning',
        'similarity',
        ('gatedvpt',),
        {},
        'similarity_gated',
    ),
    Entry(
        'Prompts, classes and patches in the plane: DA-VPT',
        'embedding',
        ('davpt',),
        {},
        'embedding',
    ),
    Entry(
        'Training curves of several runs',
        'curves',
        ('vpt-deep', 'gatedvpt', 'vapt', 'davpt', 'davpt-plus'),
        dict(keys=('loss', 'loss_metric_visual', 'loss_metric_cls')),
        'curves',
    ),
)
HEAD = """# Gallery

What the commands of [analysis.md](analysis.md) draw, for the runs of `make demo`: a ViT
of 4 layers on 32x32 scans of digits. These pictures show what the commands do; a model
this small says little about the methods. This page and its pictures are made by

```bash
make demo && python tools/analysis/gallery.py
```
"""


def seed_of(demo: Path, methods: Sequence[str]) -> str:
    """Return the first seed that all methods of the gallery have a run of.

    Args:
        demo: Folder of the demo.
        methods: Folders of methods in it.

    Raises:
        UserError: If there is none.
    """
    seeds = [{p.name for p in (demo / m).glob('seed*')} for m in methods]
    common = sorted(set.intersection(*seeds), key=lambda name: (len(name), name))
    if not common:
        lacking = [m for m, found in zip(methods, seeds) if not found] or list(methods)
        raise UserError(
            f'{demo} lacks a run of {", ".join(lacking)}: run `make demo` first, or '
            'name the folder of its results with --demo.'
        )
    return common[0]


def page_text(entries: Sequence[Entry], seed: str, folder: Path, name: str) -> str:
    """Return the text of the page; captions are those beside the pictures.

    Args:
        entries: What is on it.
        seed: Folder of the seed, for the commands.
        folder: Where the pictures are.
        name: Path of that folder from the page.
    """
    parts = [HEAD]
    for entry in entries:
        parts.append(f'\n## {entry.title}\n')
        for ending in ('', *entry.more):
            file = f'{entry.out}{ending}'
            # In the picture, too, so here for those who do not see it.
            caption = ' '.join((folder / f'{file}.txt').read_text().split())
            parts.append(f'\n![{caption}]({name}/{file}.png)\n')
        line = _wrapped(entry.command_line(seed))
        parts.append(f'\n```bash\n{line}\n```\n')
    return ''.join(parts)


def write_gallery(demo: str = 'work_dirs/demo', page: str = 'docs/gallery.md') -> None:
    """Draw all pictures and write the page.

    Args:
        demo: Results of the demo.
        page: The page; pictures go to the folder beside it.
    """
    target = Path(page)
    folder = target.with_suffix('')
    methods = list(dict.fromkeys(run for entry in ENTRIES for run in entry.runs))
    seed = seed_of(Path(demo), methods)
    for entry in ENTRIES:
        print(f'==> {entry.title}')
        entry.draw(demo, seed, str(folder))
    text = page_text(ENTRIES, seed, folder, folder.name)
    for file in (*folder.glob('*.npz'), *folder.glob('*.txt')):
        file.unlink()  # the page has the captions, and arrays are large
    target.write_text(text)
    print(f'wrote {target} and {len(list(folder.glob("*.png")))} pictures')


def _wrapped(words: Sequence[str]) -> str:
    """Break a command line at 80 columns, not between an option and its value."""
    parts: list[str] = []
    for word in words:
        if parts and parts[-1].startswith('--') and not word.startswith('--'):
            parts[-1] += f' {word}'
        else:
            parts.append(word)
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) < 80:
            lines[-1] += f' {part}'
        else:
            lines[-1] += ' \\'
            lines.append(f'  {part}')
    return '\n'.join(lines)
