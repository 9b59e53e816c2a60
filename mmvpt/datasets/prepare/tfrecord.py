# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""TFRecord files of tf.train.Example messages, read without TensorFlow.

A file is a sequence of records: length (uint64, little-endian), its checksum (uint32),
the message, its checksum (uint32), which are not compared. A message is
``Example{1: Features{1: map<string, Feature>}}`` with
``Feature{1: BytesList | 2: FloatList | 3: Int64List}``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .task import RefusedError, as_published

Features = dict[str, Any]  # bytes as a list, numbers as an array


def records(path: Path, name: str) -> Iterator[tuple[int, int]]:
    """Yield (offset, length) of each record's message."""
    size = path.stat().st_size
    with path.open('rb') as file:
        offset = 0
        while offset < size:
            file.seek(offset)
            head = file.read(8)
            length = int.from_bytes(head, 'little')
            if len(head) < 8 or offset + 16 + length > size:
                raise RefusedError(
                    f'{name!r} is truncated, or no TFRecord file, at byte {offset}. '
                    'Download it again.'
                )
            yield offset + 12, length
            offset += 16 + length


def read_example(path: Path, name: str, offset: int, length: int) -> Features:
    """Return the features of one record: bytes as a list, numbers as an array."""
    with path.open('rb') as file:
        file.seek(offset)
        return parse_example(file.read(length), f'{name} at byte {offset}')


def parse_example(message: bytes, where: str) -> Features:
    """Return the features of a serialized ``tf.train.Example``."""
    features: Features = {}
    with as_published(f'{where}: not a tf.train.Example'):
        for _, body in _fields(message, 1):
            for _, entry in _fields(body, 1):
                key = next(value for _, value in _fields(entry, 1))
                value = next((v for _, v in _fields(entry, 2)), b'')
                features[key.decode()] = _feature(value)
    return features


def _feature(message: bytes) -> list[bytes] | np.ndarray:
    for number, body in _fields(message):
        if number == 1:
            return [value for _, value in _fields(body, 1)]
        chunks = [value for _, value in _fields(body, 1)]
        if number == 2:
            return np.concatenate([np.frombuffer(c, '<f4') for c in chunks])
        values = []
        for chunk in chunks:
            if isinstance(chunk, int):  # not packed
                values.append(chunk)
                continue
            position = 0
            while position < len(chunk):
                value, position = _varint(chunk, position)
                values.append(value)
        signed = [v - (1 << 64) if v >> 63 else v for v in values]
        return np.array(signed, dtype=np.int64)
    return []


def _fields(message: bytes, wanted: int | None = None) -> Iterator[tuple[int, Any]]:
    """Yield (field number, content) of a message; a varint's content is an int."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value: Any
            value, position = _varint(message, position)
        elif kind in (1, 2, 5):
            length = {1: 8, 5: 4}.get(kind)
            if length is None:
                length, position = _varint(message, position)
            value = message[position : position + length]
            if len(value) != length:
                raise ValueError('it ends within a field')
            position += length
        else:
            raise ValueError(f'wire type {kind}')
        if wanted in (None, number):
            yield number, value


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
