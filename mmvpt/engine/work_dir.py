# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Who may write into a work folder, and which checkpoint in it comes last."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmvpt.errors import FileInTheWayError, MissingFileError, UserError

_CHECKPOINT = re.compile(r'(epoch|iter)_(\d+)\.pth|best_.+\.pth')


@contextmanager
def lock_work_dir(work_dir: str | os.PathLike) -> Iterator[None]:
    """Keep other runs out of ``work_dir`` for the length of the block.

    The lock belongs to the process, not to its data-loading workers: it goes when the
    process ends, however it ends. No effect where there is no ``fcntl`` (Windows).
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    path = Path(work_dir) / '.lock'
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, 'a+') as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or 'another process'
            raise UserError(
                f'{path.parent.resolve()} is in use by {holder}. Wait for that run, '
                'end it, or choose another --work-dir.'
            ) from error
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}\n')
        file.flush()
        yield


def list_checkpoints(work_dir: str | os.PathLike) -> list[Path]:
    """List the checkpoints of earlier runs, the latest last.

    Returns:
        ``best_*`` first, then ``epoch_*`` and ``iter_*`` by number.
    """
    found = []
    for path in Path(work_dir).glob('*.pth'):
        match = _CHECKPOINT.fullmatch(path.name)
        if match:
            found.append((int(match.group(2) or -1), path.name, path))
    return [path for *_, path in sorted(found)]


def last_checkpoint(work_dir: str | os.PathLike) -> Path | None:
    """Find the checkpoint to resume from, None if there is none.

    ``last_checkpoint`` names it; if the folder was moved since, the file of that name
    in it; if a kill came before that file was written, the highest epoch or iteration.

    Raises:
        MissingFileError: If ``last_checkpoint`` names a file that is gone.
    """
    work_dir = Path(work_dir)
    note = work_dir / 'last_checkpoint'
    if note.is_file() and note.stat().st_size:  # a kill may leave it empty
        named = Path(note.read_text().strip())
        for path in (named, work_dir / named.name):
            if path.is_file():
                return path
        raise MissingFileError(
            f'{note} names {named}, which does not exist. Give the checkpoint with '
            '--resume PATH, or start afresh with --overwrite.'
        )
    numbered = [p for p in list_checkpoints(work_dir) if not p.name.startswith('best_')]
    return numbered[-1] if numbered else None


def clear_for_fresh_run(work_dir: str | os.PathLike, overwrite: bool) -> None:
    """Make sure that a fresh run does not mix with an earlier one.

    Args:
        work_dir: The folder; may be absent.
        overwrite: Remove checkpoints of an earlier run instead of refusing.
    """
    found = list_checkpoints(work_dir)
    if found and not overwrite:
        raise FileInTheWayError(
            f'{work_dir} holds checkpoints of an earlier run ({found[-1].name}). '
            'Continue it with --resume, choose another --work-dir, or delete its '
            'checkpoints with --overwrite.'
        )
    for path in [*found, Path(work_dir) / 'last_checkpoint']:
        path.unlink(missing_ok=True)
