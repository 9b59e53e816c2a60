# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What a file is by its content, and checkpoints that lie in several files."""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mmvpt.errors import UserError

#: As Hugging Face names them in a folder; the first that is there counts.
HUGGING_FACE = (
    'model.safetensors',
    'model.safetensors.index.json',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
)
_SHARD = re.compile(r'(.*)[-_](\d+)[-_]of[-_](\d+)(\W.*)?')
# How files begin that hold weights in a way that is not read, and what they are.
_FOREIGN = {
    b'version https://git-lfs': 'a Git LFS pointer, not the file itself: fetch that '
    'with `git lfs pull`, or download it',
    b'GGUF': 'a GGUF file, whose weights are rearranged and often quantised: give the '
    'safetensors or torch file that it was made from',
    b'\x89HDF': 'an HDF5 file (Keras): give the safetensors or torch file',
}


class CheckpointError(UserError, RuntimeError):
    """A checkpoint that cannot be read or written; the message names the remedy."""


def kind_of(path: Path) -> str:
    """Tell from its content what a file is, whatever it is called.

    Returns:
        ``safetensors``, ``index``, ``npz``, ``torchscript``, or ``torch`` for all else,
        damaged files included.
    """
    with open(path, 'rb') as file:
        head = file.read(64)
    for start, meaning in _FOREIGN.items():
        if head.startswith(start):
            raise CheckpointError(f'{path} is {meaning}.')
    if path.suffix.lower() == '.onnx':
        raise CheckpointError(
            f'{path} is an ONNX graph, whose weights are renamed, transposed and fixed '
            'to one image size: give the checkpoint that it was exported from.'
        )
    if head[8:9] == b'{':
        return 'safetensors'
    if head.lstrip()[:1] == b'{':
        return 'index'
    if head.startswith(b'PK'):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except Exception:  # damaged in any way; whoever reads it says so
            names = []
        if any(name.endswith('/constants.pkl') for name in names):
            return 'torchscript'
        if any(name.endswith('.npy') for name in names):
            return 'npz'
        if names:
            return 'torch'
    return {'.npz': 'npz', '.safetensors': 'safetensors'}.get(path.suffix, 'torch')


def file_in(folder: Path) -> Path:
    """Return the file with the weights in a folder as Hugging Face distributes it."""
    files = {file.name.lower(): file for file in sorted(folder.iterdir())}
    for name in HUGGING_FACE:
        if name in files:
            return files[name]
    others = [f for n, f in files.items() if n.endswith(('.safetensors', '.bin'))]
    if len(others) == 1 and 'config.json' in files:
        return others[0]
    found = [f.name for f in files.values() if f.suffix.lower() in ('.pth', '.pt')]
    found = [file.name for file in others] + found
    hint = f'it holds {", ".join(found)}' if found else 'it holds no *.pth file'
    raise CheckpointError(
        f'{folder} is a directory without {" or ".join(HUGGING_FACE)}; name a '
        f'checkpoint file inside it ({hint}).'
    )


def refuse_one_shard(path: Path) -> None:
    """Raise for one part of a checkpoint, which is a shallower model by itself."""
    match = _SHARD.fullmatch(path.name)
    if match is None or int(match[3]) < 2:
        return
    number, count = int(match[2]), int(match[3])
    beside = sorted(path.parent.iterdir())
    index = next((f for f in beside if f.name.lower().endswith('.index.json')), None)
    raise CheckpointError(
        f'{path} is part {number} of {count} of a checkpoint. '
        + (f'Give {index}' if index else 'Fetch its index (*.index.json) and give that')
        + f' or the folder; all {count} parts must lie beside it.'
    )


def files_of(index: Path) -> list[Path]:
    """Return the shards that an index names."""
    return [index.parent / name for name in dict.fromkeys(_weight_map(index).values())]


def read_index(index: Path, read: Callable[[Path], dict]) -> dict:
    """Read the shards that an index names as one checkpoint."""
    where, state = _weight_map(index), {}
    for shard in files_of(index):
        content = read(shard)
        named = {name for name, file in where.items() if file == shard.name}
        differing = sorted(named ^ set(content))
        if differing:
            raise CheckpointError(
                f'{index} and {shard.name} disagree about {differing[0]} and '
                f'{len(differing) - 1} more weights: they are of different checkpoints '
                'or damaged. Fetch both again.'
            )
        state.update(content)
    return state


def _weight_map(index: Path) -> dict[str, str]:
    def once(pairs: list[tuple]) -> dict:
        counts = Counter(name for name, _ in pairs)
        double = [name for name, count in counts.items() if count > 1]
        if double:
            raise CheckpointError(f'{index} names {double[0]} twice. Fetch it again.')
        return dict(pairs)

    try:
        content = json.loads(index.read_text(encoding='utf-8'), object_pairs_hook=once)
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f'{index} is damaged: {error}. Fetch it again.') from None
    where = content.get('weight_map')
    plain = isinstance(where, dict) and all(
        isinstance(file, str) and Path(file).name == file for file in where.values()
    )
    if not plain or not where:
        raise CheckpointError(
            f'{index} is JSON, but no index of shards (a weight_map from names of '
            'weights to names of files beside it). Give the file with the weights.'
        )
    names = sorted(set(where.values()))
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(
            f'{index} is the index of {len(names)} shards, of which {len(missing)} '
            f'are missing: {", ".join(missing[:3])}. Put them beside it.'
        )
    return where
