# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Reading checkpoints without running code from them.

A ``.pth`` file is a pickle, and a pickle may name any function to call. Everything
here goes through ``torch.load(weights_only=True)`` with a short list of harmless extra
types, or through safetensors, and never falls back by itself to running the file's
code.
"""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import CheckpointLoader

from mmvpt.errors import needed
from mmvpt.files import is_checksummed, read_checksummed

from .shards import CheckpointError, file_in, kind_of, read_index, refuse_one_shard

TRUST_ENV = 'MMVPT_TRUST_CHECKPOINT'
_URL_PREFIXES = ('http://', 'https://')
# How torch's restricted unpickler words that a file calls for code, and which.
_CODE = re.compile(
    r'(?:GLOBAL|unrecognized function|add_safe_globals`,? but got) (.+?)'
    r'(?: was not| whose module| holds|$|\n)'
)
# The scalar types mmengine logs and saves; no object dtype, which would hold anything.
_PLAIN_DTYPES = ('?', 'b', 'h', 'i', 'l', 'q', 'B', 'H', 'I', 'L', 'Q', 'e', 'f', 'd')


class _StoredHistory(HistoryBuffer):
    """A ``HistoryBuffer`` that takes numbers from a file and nothing else.

    mmengine's own ``__setstate__`` merges functions named by the file into a table
    shared by the whole process; this one leaves them out and then becomes an ordinary
    ``HistoryBuffer``.
    """

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(
            max_length=int(state['max_length']),
            _log_history=np.asarray(state['_log_history']),
            _count_history=np.asarray(state['_count_history']),
        )
        self._set_default_statistics()
        self.__class__ = HistoryBuffer


def _attribute_stub(owner: Any, name: str) -> None:
    """Stand in for the ``getattr`` calls in a pickled ``HistoryBuffer``: do nothing."""
    return None


def _plain_dtype(*args: Any) -> np.dtype:
    """Build a numpy dtype, refusing those that hold Python objects."""
    dtype = np.dtype(*args)
    if dtype.hasobject:
        raise UnpicklingError(f'unrecognized function numpy.dtype({dtype})')
    return dtype


def _allowed_globals() -> list:
    """Name what a checkpoint of mmengine holds besides tensors.

    Returns:
        Pairs of a harmless stand-in and the name it has in the file.
    """
    multiarray = getattr(np, '_core', None) or np.core
    multiarray = multiarray.multiarray
    allowed = [
        (slice, 'builtins.slice'),
        (_attribute_stub, 'builtins.getattr'),
        (_StoredHistory, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (np.ndarray, 'numpy.ndarray'),
        (_plain_dtype, 'numpy.dtype'),
    ]
    for package in ('numpy.core', 'numpy._core'):
        allowed += [
            (multiarray._reconstruct, f'{package}.multiarray._reconstruct'),
            (multiarray.scalar, f'{package}.multiarray.scalar'),
        ]
    kinds = {type(np.dtype(code)) for code in _PLAIN_DTYPES}
    kinds |= {type(np.dtype(code)) for code in ('U1', 'S1')}
    allowed += [(kind, f'{kind.__module__}.{kind.__name__}') for kind in kinds]
    return allowed


def _is_trusted(trusted: bool) -> bool:
    value = os.environ.get(TRUST_ENV, '').strip().lower()
    return trusted or value in ('1', 'true', 'yes')


def _download(url: str) -> Path:
    """Fetch ``url`` into torch.hub's cache, on rank 0 of a distributed run."""
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    path = folder / Path(urlparse(url).path).name
    if get_dist_info()[0] == 0 and not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        print_log(f'Downloading {url} to {path}', logger='current')
        try:
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except OSError as error:
            raise CheckpointError(
                f'could not download {url} ({error}). Download it by hand, put it at '
                f'{path} and run again, or give the path of a local file.'
            ) from error
    barrier()
    return path


def _check_is_readable(path: Path) -> None:
    if not path.exists():
        raise CheckpointError(
            f'checkpoint {path} does not exist (working directory: {Path.cwd()}). '
            'Check the path, or download or convert the weights first.'
        )
    if path.stat().st_size == 0:
        raise CheckpointError(
            f'checkpoint {path} is empty (0 bytes): a copy or download was cut off. '
            'Fetch it again.'
        )


def _check_sums(path: Path) -> None:
    """Compare the checksums in a torch file, which torch itself writes and ignores."""
    try:
        if not zipfile.is_zipfile(path):
            return  # the format before torch 1.6 has none; torch words the rest
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # bytes that mean nothing fail in any way they like
        raise _corrupt(path, error) from error
    if damaged is not None:
        raise _corrupt(path, ValueError(f'the checksum of {damaged} is wrong'))


def _read_pickle(path: Path, map_location: Any, trusted: bool) -> Any:
    if not trusted:
        _check_sums(path)
    try:
        with open(path, 'rb') as file:  # by its name, torch would read something else
            if trusted:
                return torch.load(file, map_location=map_location, weights_only=False)
            with torch.serialization.safe_globals(_allowed_globals()):
                return torch.load(file, map_location=map_location, weights_only=True)
    except UnpicklingError as error:
        code = _CODE.search(str(error))
        if code is None:
            raise _corrupt(path, error) from error
        raise CheckpointError(
            f'{path} is not only weights: it names {code.group(1)}, which would run as '
            'code while loading, so it was not loaded. If you know who made this file, '
            f'set {TRUST_ENV}=1 in the environment or pass --trust-checkpoint to '
            'tools/train.py or tools/test.py; otherwise ask for a safetensors file.'
        ) from error
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # bytes that mean nothing fail in any way they like
        raise _corrupt(path, error) from error


def _read_safetensors(path: Path, map_location: Any) -> dict:
    message = f'reading {path} needs the safetensors package: pip install safetensors'
    with needed(message, CheckpointError):
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    try:
        if is_checksummed(path):
            state, meta = read_checksummed(path)
            state = {n: v.to(map_location or 'cpu') for n, v in state.items()}
            return dict(state_dict=state, meta=meta)
        return load_file(path, device=str(map_location or 'cpu'))
    except (SafetensorError, OSError, ValueError) as error:
        raise _corrupt(path, error) from error


def _corrupt(path: Path, error: Exception) -> CheckpointError:
    # torch adds a paragraph of guesses to the first sentence.
    reason = (str(error).splitlines() or [''])[0].split('. ')[0].rstrip('.')
    reason = reason or type(error).__name__
    return CheckpointError(
        f'{path} ({path.stat().st_size} bytes) is truncated or not a checkpoint: '
        f'{reason}. Fetch or save it again; a run can be resumed from an earlier file.'
    )


def local_file(path: str | os.PathLike) -> Path:
    """Return the file that a path, a folder of Hugging Face or a URL means."""
    if str(path).startswith(_URL_PREFIXES):
        path = _download(str(path))
    path = Path(path).expanduser()
    return file_in(path) if path.is_dir() else path


def _read_file(path: Path, map_location: Any, trusted: bool) -> Any:
    """Read a file by its content; its name may say something else."""
    _check_is_readable(path)
    kind = kind_of(path)
    if kind == 'safetensors':
        return _read_safetensors(path, map_location)
    if kind == 'index':
        return read_index(path, lambda shard: _read_file(shard, map_location, trusted))
    if kind == 'npz' or path.suffix == '.npy':
        raise CheckpointError(
            f'{path} is a numpy archive, not a torch checkpoint. Convert it first: '
            'python tools/weights/convert.py SOURCE DEST'
        )
    if kind == 'torchscript':
        raise CheckpointError(
            f'{path} is a TorchScript program, as OpenAI publishes CLIP. If you trust '
            'it, save its weights first: python -c "import torch; '
            f"torch.save(torch.jit.load('{path}', 'cpu').state_dict(), "
            f"'{path.stem}-weights.pth')\""
        )
    return _read_pickle(path, map_location, trusted)


def read_checkpoint(
    path: str | os.PathLike, map_location: Any = 'cpu', trusted: bool = False
) -> dict:
    """Read a checkpoint file or URL without running code from it.

    What a file is, its content tells. Torch files are read with
    ``torch.load(weights_only=True)`` plus the harmless types in mmengine's own
    checkpoints (logged histories, numpy numbers). ``meta['config']`` is dropped:
    mmengine would run that text as Python when resuming. What
    ``tools/publish.py`` wrote comes as ``state_dict`` and ``meta``.

    Args:
        path: A torch or safetensors file, the index of shards (``*.index.json``), a
            folder as Hugging Face distributes it, or an ``http(s)`` URL, which is
            cached in torch.hub's folder.
        map_location: Device as in :func:`torch.load`.
        trusted: Load pickled code too. The environment variable
            ``MMVPT_TRUST_CHECKPOINT=1`` has the same effect.

    Returns:
        What the file holds, unchanged otherwise.

    Raises:
        CheckpointError: If the file is missing, empty, truncated, one shard of several,
            of another kind, holds code or is not a dict.
    """
    path = local_file(path)
    refuse_one_shard(path)
    trusted = _is_trusted(trusted)
    checkpoint = _read_file(path, map_location, trusted)
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f'{path} holds a {type(checkpoint).__name__}, not a dict of weights. Save '
            'model.state_dict() instead.'
        )
    meta = checkpoint.get('meta')
    if isinstance(meta, dict) and not trusted:
        meta.pop('config', None)
    return checkpoint


def use_safe_loading(trusted: bool = False) -> None:
    """Make mmengine read every checkpoint through :func:`read_checkpoint`.

    Holds for local paths and URLs until called again. Other schemes of mmengine
    (``torchvision://``, ``open-mmlab://``, ``s3://`` ...) have loaders that run code
    and are refused unless trusted.
    """

    def load_from_local(filename: str, map_location: Any = None) -> dict:
        return read_checkpoint(filename, map_location, trusted)

    def load_from_http(filename: str, map_location: Any = None) -> dict:
        return read_checkpoint(filename, map_location, trusted)

    def load_from_unsafe_scheme(filename: str, map_location: Any = None) -> dict:
        if _is_trusted(trusted):
            loader = next(
                loader
                for prefix, loader in _mmengine_schemes.items()
                if re.match(prefix, filename)
            )
            return loader(filename, map_location)
        raise CheckpointError(
            f'{filename}: this scheme is read by code that may run the file. Give a '
            f'path or an http(s) URL, or set {TRUST_ENV}=1 to trust it.'
        )

    for prefix in _mmengine_schemes:
        CheckpointLoader.register_scheme(prefix, load_from_unsafe_scheme, force=True)
    CheckpointLoader.register_scheme(_URL_PREFIXES, load_from_http, force=True)
    CheckpointLoader.register_scheme('', load_from_local, force=True)


# mmengine's own loaders, as they were before use_safe_loading replaced them.
_mmengine_schemes = dict(CheckpointLoader._schemes)
