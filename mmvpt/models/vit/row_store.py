# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Files of activations, found by the keys of images: whole after a kill, bounded."""

from __future__ import annotations

import importlib.util
import itertools
import os
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from mmvpt.errors import UserError

INDEX_ENTRY = np.dtype([('key', 'S32'), ('crc', '<u4')])
_HEADER = 64  # bytes
#: Names of shelves, by the hash that they begin with; other files are nobody's to drop.
_NAMES = '[0-9a-f]' * 32 + '-k*'
_CAN_LOCK = importlib.util.find_spec('fcntl') is not None


class Shelf:
    """Activations of one shape: ``.bin`` holds them in order, ``.index`` their keys.

    An entry of the index is written after its activations, and its checksum is
    compared when a row of an earlier run is first read: what a kill or a full disk
    left half-written is computed anew. Where there is no room for more, rows of earlier
    runs that nobody has asked for yet give way. One process writes a shelf; others that
    come to it meanwhile take one of their own.

    Args:
        path: The files without suffix.
        max_bytes: What is taken over of an earlier run at most.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock, self.path = _claim(path)
        self.data, self.index = _files(self.path)
        self.shape: tuple[int, ...] = ()
        self.dtype = torch.float32
        self.grid = (0, 0)
        self._slots: dict[bytes, int] = {}
        self._rows: list[tuple[bytes, int]] = []  # key and checksum of each
        self._unused: set[int] = set()  # of earlier runs, not read yet in this one
        self._open(max_bytes)

    def __contains__(self, key: bytes) -> bool:
        """Whether the activations of an image are there and whole."""
        slot = self._slots.get(key)
        if slot in self._unused:
            if zlib.crc32(self._map[slot].data) != self._rows[slot][1]:
                del self._slots[key]
                return False
            self._unused.discard(slot)
        return slot is not None

    @property
    def num_bytes(self) -> int:
        """Size of all rows."""
        return len(self._rows) * self._row_bytes() if self.shape else 0

    def read(self, keys: list[bytes]) -> Tensor:
        """Return the activations of images that are there, (B, 1 + N, C)."""
        rows = np.stack([self._map[self._slots[key]] for key in keys])
        return torch.from_numpy(rows).view(self.dtype).reshape(-1, *self.shape)

    def add(
        self, keys: list[bytes], tokens: Tensor, grid: tuple[int, int], room: int
    ) -> int:
        """Keep activations, as many as there is room for.

        Args:
            keys: Of images that are not there.
            tokens: Their activations, (B, 1 + N, C).
            grid: Rows and columns of the patches.
            room: Bytes by which the file may grow.

        Returns:
            How many of the images are there now.
        """
        rows = tokens.detach().cpu().contiguous()
        if not self.shape:
            self.shape, self.dtype, self.grid = tuple(rows.shape[1:]), rows.dtype, grid
            header = ' '.join(map(str, (*self.shape, *grid, str(rows.dtype)[6:])))
            self.index.write_bytes(header.encode().ljust(_HEADER))
        raw = rows.view(torch.uint8).reshape(len(rows), -1).numpy()
        chosen = dict(zip(keys, raw))
        slots = self._free_slots(len(chosen), max(0, room) // raw.shape[1])
        written = list(zip(slots, chosen.items()))
        with open(self.data, 'r+b') as data:
            for slot, (_, row) in written:
                data.seek(slot * len(row))
                data.write(row.data)
        with open(self.index, 'r+b') as index:
            for slot, (key, row) in written:
                self._enter(slot, key, zlib.crc32(row.data))
                index.seek(_HEADER + slot * INDEX_ENTRY.itemsize)
                index.write(np.array(self._rows[slot], INDEX_ENTRY).tobytes())
        self._remap()
        return sum(key in self._slots for key in keys)

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()

    def _free_slots(self, wanted: int, new: int) -> list[int]:
        """Return slots to write: new ones first, then those that nobody asked for."""
        slots = [len(self._rows) + k for k in range(min(wanted, new))]
        if len(slots) < wanted:
            slots += itertools.islice(sorted(self._unused), wanted - len(slots))
        return slots

    def _enter(self, slot: int, key: bytes, crc: int) -> None:
        if slot == len(self._rows):
            self._rows.append((key, crc))
        else:
            self._unused.discard(slot)
            before, _ = self._rows[slot]
            if self._slots.get(before) == slot:
                del self._slots[before]
            self._rows[slot] = key, crc
        self._slots[key] = slot

    def _open(self, max_bytes: int) -> None:
        """Read the index of an earlier run; drop what has no activations."""
        content = self.index.read_bytes() if self.index.exists() else b''
        fields = content[:_HEADER].split()
        if len(fields) < 4 or not self.data.exists():
            for path in (self.data, self.index):
                path.write_bytes(b'')
            return
        *numbers, dtype = fields
        *shape, rows, columns = map(int, numbers)
        self.shape, self.grid = tuple(shape), (rows, columns)
        self.dtype = getattr(torch, dtype.decode())
        size = self._row_bytes()
        count = min(
            (len(content) - _HEADER) // INDEX_ENTRY.itemsize,
            min(max_bytes, self.data.stat().st_size) // size,
        )
        os.truncate(self.data, count * size)
        os.truncate(self.index, _HEADER + count * INDEX_ENTRY.itemsize)
        for slot, (key, crc) in enumerate(
            np.frombuffer(content, INDEX_ENTRY, count, _HEADER)
        ):
            self._slots[bytes(key)] = slot
            self._rows.append((bytes(key), int(crc)))
        self._unused = set(range(count))
        self._remap()

    def _remap(self) -> None:
        if self._rows:
            shape = (len(self._rows), self._row_bytes())
            self._map = np.memmap(self.data, np.uint8, 'r', shape=shape)

    def _row_bytes(self) -> int:
        return int(np.prod(self.shape)) * torch.empty(0, dtype=self.dtype).itemsize


def room_in(folder: Path, max_bytes: int, wanted: int) -> int:
    """Return the bytes by which the shelves of a folder may grow together.

    Where they are fewer than ``wanted``, shelves that no process has open are emptied,
    those first that nobody has opened for longest.
    """
    locks = list(folder.glob(f'{_NAMES}.lock'))
    room = max_bytes - sum(map(_size, locks))
    if room < wanted and _CAN_LOCK:
        for path in sorted(locks, key=lambda path: path.stat().st_mtime):
            lock = _try_lock(path) if _size(path) else None
            if lock is None:
                continue
            with lock:
                room += _size(path)
                for file in _files(path.with_suffix('')):
                    file.unlink(missing_ok=True)
            if room >= wanted:
                break
    return room


def _files(path: Path) -> tuple[Path, Path]:
    return path.with_name(f'{path.name}.bin'), path.with_name(f'{path.name}.index')


def _size(lock: Path) -> int:
    """Bytes of the activations beside a lock."""
    data, _ = _files(lock.with_suffix(''))
    try:
        return data.stat().st_size
    except FileNotFoundError:  # emptied, maybe by another process just now
        return 0


def _claim(path: Path) -> tuple[IO | None, Path]:
    """Lock the first free one of ``path``, ``path-1``, ...; without fcntl, ``path``."""
    for number in range(1000):
        candidate = path.with_name(f'{path.name}-{number}' if number else path.name)
        file = candidate.with_name(candidate.name + '.lock')
        file.touch()  # its time says when the shelf was last opened
        lock = _try_lock(file)
        if lock is not None or not _CAN_LOCK:
            return lock, candidate
    raise UserError(f'1,000 processes use {path}; remove its .lock files.')


def _try_lock(path: Path) -> IO | None:
    """Return the locked file, or None if a process has it, or without fcntl."""
    if not _CAN_LOCK:
        return None
    import fcntl

    lock = open(path, 'a')
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock
