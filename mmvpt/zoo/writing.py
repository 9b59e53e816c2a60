# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Configs of every method and task, from their tables, and what lists them."""

from __future__ import annotations

from pathlib import Path

from mmvpt.files import ROOT

from . import cells, listing
from .methods import PAPERS


def generated(root: Path = ROOT) -> dict[str, str | None]:
    """Return the text of every file that is written, by path below ``root``.

    A config that the tables no longer have is None.

    Args:
        root: The tree, whose other configs are listed too.
    """
    files: dict[str, str | None] = {}
    for paper in PAPERS.values():
        for config in paper.configs():
            files[f'configs/{paper.folder}/{config.name}.py'] = config.text
        for path in sorted((root / 'configs' / paper.folder).glob('*.py')):
            name = path.relative_to(root).as_posix()
            if name not in files and listing.MARK in path.read_text(encoding='utf-8'):
                files[name] = None
    present = sorted(name for name, text in files.items() if text is not None)
    for paper in PAPERS.values():
        files.update(cells.shipped(paper.folder))
    files.update(listing.listings(root, list(PAPERS.values()), present))
    return files


def outdated(root: Path = ROOT) -> dict[str, str | None]:
    """Return those files of :func:`generated` that differ from the tree's."""
    return {
        name: text
        for name, text in generated(root).items()
        if text != _read(root / name)
    }


def _read(path: Path) -> str | None:
    return path.read_text(encoding='utf-8') if path.is_file() else None


def write(root: Path = ROOT) -> list[str]:
    """Bring the tree up to date and return the paths that changed."""
    written: list[str] = []
    while changed := outdated(root):  # listings name the configs of the tree
        for name, text in changed.items():
            path = root / name
            if text is None:
                path.unlink()
            else:
                path.write_text(text, encoding='utf-8')
        written += changed
    return list(dict.fromkeys(written))
