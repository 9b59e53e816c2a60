# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Write a task's files aside, then put them in place by one rename."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from mmvpt.display import progress
from mmvpt.files import write_whole

from .images import size as decoded_size
from .layouts import Plan
from .task import RefusedError, Task

SUMS = 'SHA256SUMS'
ORIGIN = 'origin.json'


class Workplace:
    """A hidden folder beside the output, where a task is put together.

    A run that was killed leaves it; the next run with the same source goes on with the
    files that are complete. Anything else starts over.

    Args:
        target: The task's final folder.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.folder = target.parent / f'.prepare-{target.name}'
        self.result = self.folder / 'result'
        self.scratch = self.folder / 'scratch'

    def resume(self, fingerprint: str) -> None:
        """Keep what an earlier run wrote from the same source; drop anything else."""
        mark = self.folder / 'source'
        if not mark.is_file() or mark.read_text() != fingerprint:
            shutil.rmtree(self.result, ignore_errors=True)
        self.result.mkdir(parents=True, exist_ok=True)
        mark.write_text(fingerprint)

    def finish(self) -> None:
        """Move the result to its place."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if self.target.exists():
            raise RefusedError(f'{self.target} exists already; nothing is overwritten.')
        self.result.rename(self.target)
        self.remove()

    def remove(self) -> None:
        """Remove the folder and everything in it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def write(
    plan: Plan, task: Task, work: Workplace, allow_duplicates: bool, quiet: bool
) -> dict:
    """Write all files of a plan below ``work.result``."""
    root = work.result
    sums: dict[str, str] = {}
    first: dict[str, tuple[str, str]] = {}  # digest -> split and path
    shared: list[list[str]] = []
    expected = {file.path for file in plan.files}
    for path in root.rglob('*'):  # what an interrupted run left
        if path.is_file() and path.relative_to(root).as_posix() not in expected:
            path.unlink()
    for file in plan.files if quiet else progress(plan.files, task.name):
        path = root / file.path
        content = path.read_bytes() if path.exists() else file.read()
        decoded_size(content, f'{task.name}: {file.path}')
        digest = hashlib.sha256(content).hexdigest()
        split, other = first.setdefault(digest, (file.split, file.path))
        if file.split and split and split != file.split:
            if not allow_duplicates:
                raise RefusedError(
                    f'{task.name}: the same image is in two splits, {other!r} and '
                    f'{file.path!r}. Correct the source; if the published data is so, '
                    'give --allow-duplicates, and the result will say it.'
                )
            shared.append([other, file.path])
        sums[file.path] = digest
        if not path.exists():
            write_whole(path, content, durable=False)
    for name, text in plan.texts.items():
        content = text.encode()
        write_whole(root / name, content, durable=False)
        sums[name] = hashlib.sha256(content).hexdigest()
    origin = {
        'task': task.name,
        'source': plan.kind,
        'homepage': task.homepage,
        'terms': task.terms,
        'official_split': 'unconfirmed' if plan.official is None else plan.official,
        'split': ('NOT the official split: ' if plan.official is False else '')
        + plan.split_note,
        'counts': plan.counts,
        'images_in_two_splits': shared,
    }
    text = json.dumps(origin, indent=2) + '\n'
    write_whole(root / ORIGIN, text.encode(), durable=False)
    lines = [f'{digest}  {name}\n' for name, digest in sorted(sums.items())]
    write_whole(root / SUMS, ''.join(lines).encode(), durable=False)
    return origin
