# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Readers of the raw file formats, none of which can run code from a file."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from mmvpt.errors import needed

from .source import Source
from .task import RefusedError, as_published

# Magic numbers of the NORB matrix format.
NORB_TYPES = {0x1E3D4C55: 'u1', 0x1E3D4C54: '<i4', 0x1E3D4C51: '<f4'}
PICKLED = {'_reconstruct', 'ndarray', 'dtype', 'encode'}
ANY = (Exception,)  # numpy, scipy and pickle raise many kinds on broken files


def read_mat(source: Source, name: str, *variables: str) -> list[np.ndarray]:
    """Return variables of a MATLAB file, squeezed."""
    with as_published(f'{name!r} is not a readable MATLAB file', ANY):
        content = scipy.io.loadmat(io.BytesIO(source.read(name)), squeeze_me=True)
    missing = [variable for variable in variables if variable not in content]
    if missing:
        raise RefusedError(
            f'{name!r} lacks {missing[0]!r}; it has '
            f'{", ".join(k for k in content if not k.startswith("__"))}. Give the '
            'published file.'
        )
    return [np.atleast_1d(content[variable]) for variable in variables]


def read_norb(content: bytes, name: str) -> np.ndarray:
    """Return the array in a file of the NORB matrix format.

    Little-endian: a magic number for the type, the number of dimensions, at least three
    dimensions, the values.

    Source: https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/
    """
    head = np.frombuffer(content[: len(content) // 4 * 4], '<i4', min(2, len(content)))
    if len(head) < 2 or int(head[0]) not in NORB_TYPES or not 1 <= head[1] <= 8:
        raise RefusedError(
            f'{name!r} is no NORB matrix: it begins with {content[:4]!r}. Give the '
            'published .mat or .mat.gz file.'
        )
    dtype, ndim = np.dtype(NORB_TYPES[int(head[0])]), int(head[1])
    start = 8 + 4 * max(3, ndim)
    shape = tuple(np.frombuffer(content, '<i4', ndim, 8).tolist())
    needed = start + dtype.itemsize * int(np.prod(shape))
    if len(content) != needed:
        raise RefusedError(
            f'{name!r} has {len(content)} bytes, its shape {shape} needs {needed}: it '
            'is truncated. Download it again.'
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape)


class _ArrayUnpickler(pickle.Unpickler):
    """Rebuilds numpy arrays and plain containers, refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the few functions that a pickled array needs."""
        known = module.split('.')[0] in ('numpy', '_codecs') and name in PICKLED
        if known and name == 'encode':
            return lambda text, encoding: text.encode(encoding)
        if known and name == '_reconstruct':
            return np.empty((0,)).__reduce__()[0]
        if known:
            return getattr(np, name)
        raise pickle.UnpicklingError(f'it wants to call {module}.{name}')


def read_pickle(content: bytes, name: str) -> dict:
    """Return a pickled dict of arrays, lists, numbers and bytes, and nothing else."""
    with as_published(f'{name!r} cannot be read safely', ANY):
        found = _ArrayUnpickler(io.BytesIO(content), encoding='bytes').load()
    if not isinstance(found, dict):
        raise RefusedError(f'{name!r} holds a {type(found).__name__}, expected a dict.')
    return {k.decode() if isinstance(k, bytes) else k: v for k, v in found.items()}


def read_npz(path: Path, name: str, *arrays: str) -> list[np.ndarray]:
    """Return arrays of a npz file; pickled objects in it are not loaded."""
    with as_published(_broken(name, arrays), ANY):
        with np.load(path, allow_pickle=False) as file:
            return [file[array] for array in arrays]


def _broken(name: str, arrays: tuple[str, ...]) -> str:
    return f'{name!r} is broken or lacks one of {", ".join(arrays)}'


def open_hdf5(path: Path, name: str):
    """Open a HDF5 file for reading."""
    with needed(f'{name!r} is a HDF5 file, which needs h5py: pip install h5py'):
        import h5py
    with as_published(f'{name!r} is truncated or no HDF5 file', (OSError,)):
        return h5py.File(path, 'r')


def hdf5_arrays(path: Path, name: str, *arrays: str) -> list[np.ndarray]:
    """Return arrays of a HDF5 file, such as 'latents/classes'."""
    with open_hdf5(path, name) as file:
        with as_published(_broken(name, arrays), (KeyError, OSError)):
            return [file[array][()] for array in arrays]
