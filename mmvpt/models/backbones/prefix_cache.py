# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Activations of the frozen layers before the first tuned tensor, kept on disk."""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import torch
from mmcv.cnn.bricks.drop import DropPath
from torch import Tensor, nn

from mmvpt.models import tunable as tuning

from .static_prompts import autocast_state

INDEX_ENTRY = np.dtype([('key', 'S32'), ('crc', '<u4')])


class PrefixCache:
    """Computes what enters layer k once for each image, and reads it afterwards.

    The key of an image is a 128-bit hash of the tensor that enters the backbone, so
    whatever changes the data (another transform, normalisation or crop) is another
    image. The files are named by a hash of the weights and settings that the prefix
    runs with, so another backbone has other files. Either way, nothing stale is read.

    Args:
        folder: Where the files go; they serve later runs too.
        num_layers: Layers that are skipped (k).
        max_bytes: What is kept at most; images beyond it are computed each time.
        fingerprint: Of everything that the activations depend on but the image.

    Raises:
        ValueError: If ``max_bytes`` is not positive.
    """

    def __init__(
        self, folder: str | Path, num_layers: int, max_bytes: int, fingerprint: str
    ) -> None:
        if max_bytes <= 0:
            raise ValueError(f'max_bytes must be positive, got {max_bytes}.')
        self.folder, self.num_layers = Path(folder), num_layers
        self.max_bytes, self.fingerprint = max_bytes, fingerprint
        self.hits = self.misses = 0
        self._shelves: dict[str, Shelf] = {}

    def __deepcopy__(self, memo: dict) -> PrefixCache:
        """Copies of a model (as for EMA) read the same cache."""
        return self

    @property
    def stored(self) -> int:
        """Bytes that are kept."""
        return sum(shelf.num_bytes for shelf in self._shelves.values())

    def close(self) -> None:
        """Let other processes write to the files."""
        for shelf in self._shelves.values():
            shelf.close()
        self._shelves.clear()

    @torch.no_grad()
    def __call__(
        self, backbone: nn.Module, inputs: Tensor
    ) -> tuple[Tensor, tuple[int, int]]:
        """Return what enters layer k.

        Args:
            backbone: The ``PromptedVisionTransformer``.
            inputs: Images as they enter it, (B, in_channels, height, width).

        Returns:
            Tokens (B, 1 + N, C) and the rows and columns of the patches.
        """
        keys = image_keys(inputs)
        shelf = self._shelf(inputs)
        found = [b for b, key in enumerate(keys) if key in shelf]
        missing = sorted(set(range(len(keys))) - set(found))
        self.hits += len(found)
        self.misses += len(missing)
        if not missing:
            return shelf.read(keys).to(inputs.device, non_blocking=True), shelf.grid
        tokens, grid = self._compute(backbone, inputs[missing] if found else inputs)
        fresh = tokens
        if found:
            tokens = fresh.new_empty(len(keys), *fresh.shape[1:])
            tokens[missing] = fresh
            tokens[found] = shelf.read([keys[b] for b in found]).to(fresh.device)
        room = self.max_bytes - self.stored
        shelf.add([keys[b] for b in missing], fresh, grid, room)
        return tokens, grid

    def _compute(
        self, backbone: nn.Module, inputs: Tensor
    ) -> tuple[Tensor, tuple[int, int]]:
        tokens, grid = backbone.embed(inputs)
        for i in range(self.num_layers):
            tokens, _ = backbone.run_layer(i, tokens, None)
        return tokens, grid

    def _shelf(self, inputs: Tensor) -> Shelf:
        """Return the part for images of this size and precision."""
        size = 'x'.join(map(str, inputs.shape[1:]))
        precision = f'{inputs.dtype} {autocast_state(inputs.device)}'
        precision = hashlib.blake2b(precision.encode(), digest_size=4).hexdigest()
        name = f'{self.fingerprint[:32]}-k{self.num_layers}-{size}-{precision}'
        if name not in self._shelves:
            self._shelves[name] = Shelf(self.folder / name)
        return self._shelves[name]


class Shelf:
    """Activations of one shape: ``.bin`` holds them in order, ``.index`` their keys.

    An entry of the index is written after its activations, and its checksum is
    compared when a file of an earlier run is first read: what a kill or a full disk
    left half-written is computed anew. One process writes a shelf; others that come to
    it meanwhile take one of their own.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock, self.path = _claim(path)
        self.data = self.path.with_name(self.path.name + '.bin')
        self.index = self.path.with_name(self.path.name + '.index')
        self.shape: tuple[int, ...] = ()
        self.dtype = torch.float32
        self.grid = (0, 0)
        self.num_bytes = 0
        self._slots: dict[bytes, int] = {}
        self._crcs: list[int] = []
        self._unchecked: set[int] = set()
        self._open()

    def __contains__(self, key: bytes) -> bool:
        """Whether the activations of an image are there and whole."""
        slot = self._slots.get(key)
        if slot is None:
            return False
        if slot in self._unchecked:
            self._unchecked.discard(slot)
            if zlib.crc32(self._row(slot).data) != self._crcs[slot]:
                del self._slots[key]
                return False
        return True

    def read(self, keys: list[bytes]) -> Tensor:
        """Return the activations of images that are there, (B, 1 + N, C)."""
        rows = np.stack([self._row(self._slots[key]) for key in keys])
        return torch.from_numpy(rows).view(self.dtype).reshape(-1, *self.shape)

    def add(
        self, keys: list[bytes], tokens: Tensor, grid: tuple[int, int], room: int
    ) -> None:
        """Append activations (B, 1 + N, C), as many as there is room for, in bytes."""
        rows = tokens.detach().cpu().contiguous()
        if not self.shape:
            self.shape, self.dtype, self.grid = tuple(rows.shape[1:]), rows.dtype, grid
            header = ' '.join(map(str, (*self.shape, *grid, str(rows.dtype)[6:])))
            self.index.write_bytes(header.encode().ljust(64))
        raw = rows.view(torch.uint8).reshape(len(rows), -1).numpy()
        fits = max(0, min(len(raw), room // raw.shape[1]))
        chosen = {key: row for key, row in zip(keys[:fits], raw)}
        with open(self.data, 'ab') as data, open(self.index, 'ab') as index:
            for key, row in chosen.items():
                data.write(row.tobytes())
                self._slots[key] = len(self._crcs)
                self._crcs.append(zlib.crc32(row.data))
            data.flush()
            entries = [(key, zlib.crc32(row.data)) for key, row in chosen.items()]
            index.write(np.array(entries, INDEX_ENTRY).tobytes())
        self.num_bytes += len(chosen) * raw.shape[1]
        self._map()

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()

    def _open(self) -> None:
        """Read the index of an earlier run; drop what has no activations."""
        if not (self.index.exists() and self.data.exists()):
            self._clear()
            return
        content = self.index.read_bytes()
        fields = content[:64].split()
        if len(fields) < 4:
            self._clear()
            return
        *numbers, dtype = fields
        *shape, rows, columns = map(int, numbers)
        self.shape, self.grid = tuple(shape), (rows, columns)
        self.dtype = getattr(torch, dtype.decode())
        size = self._row_bytes()
        count = min(
            (len(content) - 64) // INDEX_ENTRY.itemsize,
            self.data.stat().st_size // size,
        )
        entries = np.frombuffer(content, INDEX_ENTRY, count, 64)
        with open(self.data, 'r+b') as data, open(self.index, 'r+b') as index:
            data.truncate(count * size)
            index.truncate(64 + count * INDEX_ENTRY.itemsize)
        for slot, (key, crc) in enumerate(entries):
            self._slots[bytes(key)] = slot
            self._crcs.append(int(crc))
        self._unchecked = set(range(count))
        self.num_bytes = count * size
        self._map()

    def _clear(self) -> None:
        for path in (self.data, self.index):
            path.unlink(missing_ok=True)

    def _map(self) -> None:
        if self._crcs:
            shape = (len(self._crcs), self._row_bytes())
            self._rows = np.memmap(self.data, np.uint8, 'r', shape=shape)

    def _row(self, slot: int) -> np.ndarray:
        return self._rows[slot]

    def _row_bytes(self) -> int:
        return int(np.prod(self.shape)) * torch.empty(0, dtype=self.dtype).itemsize


def image_keys(inputs: Tensor) -> list[bytes]:
    r"""Hash every image of a batch where it lies, to 128 bits.

    Two multilinear hashes :math:`\sum_j a_j x_j \bmod 2^{64}` of the 32-bit words
    :math:`x_j` with random odd :math:`a_j`, drawn from a fixed seed; integer sums do
    not depend on the order of summation.
    """
    words = inputs.detach().contiguous().flatten(1)
    words = words.view(torch.int16 if words.itemsize == 2 else torch.int32).long()
    sums = [(words * row).sum(1) for row in _factors(words.shape[1], words.device)]
    pairs = torch.stack(sums, dim=1).cpu().numpy()
    return [pair.tobytes().hex().encode() for pair in pairs]


def prefix_fingerprint(backbone: nn.Module, num_layers: int) -> str:
    """Hash the weights and settings that the first ``num_layers`` layers run with."""
    digest = hashlib.blake2b(digest_size=20)
    settings = (
        *(backbone.arch_settings, backbone.patch_resolution, backbone.interpolate_mode),
        *(num_layers, torch.__version__, repr(backbone.layers[:num_layers])),
    )
    digest.update(repr(settings).encode())
    for name, tensor in prefix_tensors(backbone, num_layers):
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def prefix_tensors(
    backbone: nn.Module, num_layers: int
) -> Iterator[tuple[str, Tensor]]:
    """Yield every weight and buffer that computes what enters layer ``num_layers``."""
    later = tuple(f'layers.{i}.' for i in range(num_layers, backbone.num_layers))
    apart = (*later, 'prompt.', 'ln1.', 'ln2.')
    for name, tensor in backbone.state_dict(keep_vars=True).items():
        if not name.startswith(apart):
            yield name, tensor


def cacheable_layers(backbone: nn.Module) -> int:
    """Count the layers that run before any tuned tensor, prompt or output.

    Raises:
        ValueError: If there is none, or dropout or drop-path makes what they compute
            random.
    """
    bounds = {f'out_indices={backbone.out_indices}': backbone.out_indices[0]}
    if backbone.prompt is not None:
        prompt = type(backbone.prompt).__name__
        bounds[f'{prompt} enters layer'] = backbone.prompt.first_layer
    for name in tuning.tuned_names(backbone):
        if not name.startswith(('prompt.', 'ln1.', 'ln2.')):
            parts = name.split('.')
            layer = int(parts[1]) if parts[0] == 'layers' else 0
            bounds.setdefault(f'{name} trains', layer)
    reason = min(bounds, key=lambda name: bounds[name])
    count = bounds[reason]
    if count < 1:
        raise ValueError(
            f'no layer runs before the first tuned tensor, prompt or output: {reason}. '
            "Give prompts to later layers only (DeepPrompt's `layers`), tune later "
            'layers only, or remove the cache.'
        )
    for module in backbone.layers[:count].modules():
        if isinstance(module, DropPath) and module.drop_prob > 0:
            raise ValueError(
                f'drop-path (rate {module.drop_prob} in a layer before the first tuned '
                'tensor) makes the activations random, so they cannot be cached. Set '
                'drop_path_rate=0.0 in the backbone, or remove the cache.'
            )
    return count


@functools.lru_cache(maxsize=8)
def _factors(length: int, device: torch.device) -> Tensor:
    factors = torch.empty(2, length, dtype=torch.long)
    factors.random_(generator=torch.Generator().manual_seed(0x5EED)).mul_(2).add_(1)
    return factors.to(device)


def _claim(path: Path) -> tuple[IO | None, Path]:
    """Lock the first free one of ``path``, ``path-1``, ...; without fcntl, ``path``."""
    try:
        import fcntl
    except ImportError:
        return None, path
    for number in range(1000):
        candidate = path.with_name(f'{path.name}-{number}' if number else path.name)
        lock = open(candidate.with_name(candidate.name + '.lock'), 'a')
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        return lock, candidate
    raise RuntimeError(f'1,000 processes use {path}; remove its .lock files.')
