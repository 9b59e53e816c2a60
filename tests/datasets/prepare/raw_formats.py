# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Writers of the raw file formats, for miniatures."""

from __future__ import annotations

import struct
import tarfile
import zipfile

import cv2
import numpy as np
import scipy.io


def picture(seed, size=(12, 16), suffix='.jpg'):
    """Return the file of an image that differs from those of other seeds."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    pixels = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(suffix, pixels)[1].tobytes()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def mat(path, **variables):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, variables)


def cells(values):
    """Return a MATLAB cell array, (n, 1)."""
    array = np.empty((len(values), 1), dtype=object)
    for i, value in enumerate(values):
        array[i, 0] = value
    return array


def tar(folder, target, mode='w:gz'):
    """Pack the files of a folder and remove it."""
    with tarfile.open(target, mode) as archive:
        for path in sorted(folder.rglob('*')):
            if path.is_file():
                archive.add(path, path.relative_to(folder).as_posix())
    return target


def zipped(folder, target):
    with zipfile.ZipFile(target, 'w') as archive:
        for path in sorted(folder.rglob('*')):
            if path.is_file():
                archive.write(path, path.relative_to(folder).as_posix())
    return target


def example(**features):
    """Serialize a tf.train.Example."""

    def varint(value):
        out = bytearray()
        value &= (1 << 64) - 1
        while value > 127:
            out.append(value & 127 | 128)
            value >>= 7
        return bytes([*out, value])

    def field(number, content):
        return varint(number << 3 | 2) + varint(len(content)) + content

    entries = b''
    for name, values in features.items():
        if isinstance(values[0], bytes):
            body = field(1, b''.join(field(1, value) for value in values))
        elif isinstance(values[0], float):
            body = field(2, field(1, struct.pack(f'<{len(values)}f', *values)))
        else:
            body = field(3, field(1, b''.join(map(varint, values))))
        entries += field(1, field(1, name.encode()) + field(2, body))
    return field(1, entries)


def tfrecord(path, messages):
    content = b''
    for message in messages:
        content += struct.pack('<QI', len(message), 0) + message + bytes(4)
    put(path, content)


def norb(array):
    """Return an array in the NORB matrix format."""
    magic = {'uint8': 0x1E3D4C55, 'int32': 0x1E3D4C54}[array.dtype.name]
    shape = [*array.shape, *[1] * (3 - array.ndim)]
    head = struct.pack(f'<ii{len(shape)}i', magic, array.ndim, *shape)
    return head + array.tobytes()
