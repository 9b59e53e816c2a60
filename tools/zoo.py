#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Write the configs of every method and task from their tables, and what lists them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmvpt.zoo import (  # noqa: E402
    baselines,
    davpt,
    field,
    gatedvpt,
    listing,
    prompts,
    vapt,
    vpt,
)

METHODS = (
    vpt,
    gatedvpt,
    vapt,
    davpt,
    field.E2VPT,
    field.CVPT,
    field.SA2VP,
    field.REIN,
    *prompts.METHODS,
    baselines,
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument(
        '--write', action='store_true', help='write what is not current'
    )
    action.add_argument(
        '--check', action='store_true', help='fail if a file is not current'
    )
    action.add_argument(
        '--count', action='store_true', help='print how many configs there are'
    )
    return parser.parse_args(argv)


def generated(root: Path = ROOT) -> dict[str, str | None]:
    """Return the text of every file that this tool writes, by path below ``root``.

    A config that the tables no longer have is None.

    Args:
        root: The tree, whose other configs are listed too.
    """
    files: dict[str, str | None] = {}
    for method in METHODS:
        for config in method.configs():
            files[f'configs/{method.FOLDER}/{config.name}.py'] = config.text
        for path in sorted((root / 'configs' / method.FOLDER).glob('*.py')):
            name = path.relative_to(root).as_posix()
            if name not in files and listing.MARK in path.read_text(encoding='utf-8'):
                files[name] = None
    present = sorted(name for name, text in files.items() if text is not None)
    files.update(listing.listings(root, METHODS, present))
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
    changed = outdated(root)
    for name, text in changed.items():
        path = root / name
        if text is None:
            path.unlink()
        else:
            path.write_text(text, encoding='utf-8')
    return list(changed)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line asks for.

    Args:
        argv: Arguments; those of the process by default.

    Returns:
        The exit status.
    """
    args = parse_args(argv)
    if args.count:
        print('\n'.join(listing.counts(ROOT, METHODS)))
        return 0
    if args.write:
        changed = write()
        print(*(f'wrote {name}' for name in changed), sep='\n')
        return 0
    changed = list(outdated())
    for name in changed:
        print(f'not current: {name}')
    if changed:
        print('zoo.py: run `python tools/zoo.py --write`', file=sys.stderr)
    return bool(changed)


if __name__ == '__main__':
    raise SystemExit(main())
