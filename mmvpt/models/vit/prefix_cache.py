# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Activations of the frozen layers before the first tuned tensor, kept on disk."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from mmcv.cnn.bricks.drop import DropPath
from torch import Tensor, nn

from mmvpt.errors import UserError
from mmvpt.models import tunable as tuning

from .row_store import Shelf, room_in
from .snapshot import Snapshot, is_counted, precision_state

_BEHIND = ('prompt.', 'ln1.', 'ln2.', 'pool.')  # names that no prefix reads
_PIECE = 2**18  # words that are hashed at once, so that few bytes lie about


class PrefixCache:
    """Computes what enters layer k once for each image, and reads it afterwards.

    The key of an image is a 128-bit hash of the tensor that enters the backbone, so
    whatever changes the data (another transform, normalisation or crop) is another
    image. The files are named by a hash of the weights, settings and precision that the
    prefix runs with, so another backbone has other files. The hash is taken anew when
    the weights may have changed, see :class:`Snapshot`; weights made in inference mode
    use no cache. So nothing stale is read.

    Args:
        folder: Where the files go; they serve later runs too.
        num_layers: Layers that are skipped (k).
        max_bytes: What the folder holds at most. Where it is full, activations of
            earlier runs give way, but none that this run wrote or read: images beyond
            are computed each time.

    Attributes:
        hits: Images that were read.
        misses: Images that were computed.
        added: Images that were computed and kept.
        refused: Images that there was no room for.

    Raises:
        UserError: If ``max_bytes`` is not positive.
    """

    def __init__(self, folder: str | Path, num_layers: int, max_bytes: int) -> None:
        if max_bytes <= 0:
            raise UserError(f'max_bytes must be positive, got {max_bytes}.')
        self.folder, self.num_layers = Path(folder), num_layers
        self.max_bytes = max_bytes
        self.hits = self.misses = self.added = self.refused = 0
        self._shelves: dict[str, Shelf] = {}
        self._fingerprints: WeakKeyDictionary = WeakKeyDictionary()

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

    def forget(self, backbone: nn.Module) -> None:
        """Look at the weights of ``backbone`` again before anything else is read."""
        self._fingerprints.pop(backbone, None)

    def fingerprint(self, backbone: nn.Module) -> str | None:
        """Return the hash of the prefix as it is; None if changes are not counted."""
        tensors = [tensor for _, tensor in prefix_tensors(backbone, self.num_layers)]
        if not is_counted(tensors):
            return None
        known = self._fingerprints.get(backbone)
        if known is None or not known[0].holds(tensors):
            digest = prefix_fingerprint(backbone, self.num_layers)
            known = self._fingerprints[backbone] = Snapshot(tensors), digest
        return known[1]

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
        fingerprint = self.fingerprint(backbone)
        if fingerprint is None:
            self.misses += len(inputs)
            return self._compute(backbone, inputs)
        keys = hash_rows(inputs)
        shelf = self._shelf(fingerprint, inputs)
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
        room = room_in(self.folder, self.max_bytes, fresh.nbytes)
        added = shelf.add([keys[b] for b in missing], fresh, grid, room)
        self.added += added
        self.refused += len(missing) - added
        return tokens, grid

    def _compute(
        self, backbone: nn.Module, inputs: Tensor
    ) -> tuple[Tensor, tuple[int, int]]:
        tokens, grid = backbone.embed(inputs)
        *_, state = backbone.walk(
            backbone.start(tokens, grid, prompted=False), self.num_layers - 1
        )
        return state.tokens, grid

    def _shelf(self, fingerprint: str, inputs: Tensor) -> Shelf:
        """Return the part for images of this size, precision and kind of device."""
        size = 'x'.join(map(str, inputs.shape[1:]))
        precision = f'{inputs.dtype} {precision_state(inputs.device)}'
        if inputs.is_cuda:  # not all round alike
            precision += torch.cuda.get_device_name(inputs.device)
        precision = hashlib.blake2b(precision.encode(), digest_size=4).hexdigest()
        name = f'{fingerprint}-k{self.num_layers}-{size}-{precision}'
        if name not in self._shelves:
            self._shelves[name] = Shelf(self.folder / name, self.max_bytes)
        return self._shelves[name]


def hash_rows(rows: Tensor) -> list[bytes]:
    r"""Hash every row of (B, ...) where it lies, to 128 bits.

    Two multilinear hashes :math:`\sum_j a_j x_j \bmod 2^{64}` of the 32-bit words
    :math:`x_j` with random odd :math:`a_j`, drawn from a fixed seed; integer sums do
    not depend on the order of summation. The hashes of a row's pieces are joined in the
    same way.
    """
    words = rows.detach().contiguous().flatten(1)
    words = words.view(
        {1: torch.uint8, 2: torch.int16}.get(words.itemsize, torch.int32)
    )
    total = torch.zeros(len(words), 2, dtype=torch.long, device=words.device)
    factors, joint = _factors(words.device)
    for piece in words.split(_PIECE, dim=1):
        piece = piece.long()
        sums = [(piece * row[: piece.shape[1]]).sum(1) for row in factors]
        total = total * joint + torch.stack(sums, dim=1)
    return [pair.tobytes().hex().encode() for pair in total.cpu().numpy()]


def prefix_fingerprint(backbone: nn.Module, num_layers: int) -> str:
    """Hash the weights and settings that the first ``num_layers`` layers run with."""
    digest = hashlib.blake2b(digest_size=16)
    parts = (backbone.patch_embed, backbone.pre_norm, *backbone.layers[:num_layers])
    settings = (
        backbone.arch_settings,
        backbone.patch_resolution,
        backbone.interpolate_mode,
        backbone.num_extra_tokens,
        backbone.rotary,
        backbone.rope_dtype,
        num_layers,
        torch.__version__,
        [_settings(part) for part in parts],
    )
    digest.update(repr(settings).encode())
    for name, tensor in prefix_tensors(backbone, num_layers):
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        row = tensor.detach().reshape(1, -1)
        on_host = row.is_cpu  # where this is the faster way
        digest.update(row.view(torch.uint8).numpy() if on_host else hash_rows(row)[0])
    return digest.hexdigest()


def _settings(module: nn.Module) -> list[tuple]:
    """Types of all modules in ``module`` and the plain values among their attributes.

    ``repr`` shows some of them only.
    """
    plain = (bool, int, float, str, tuple, type(None))
    return [
        (
            name,
            type(part).__qualname__,
            sorted(
                (key, repr(value))
                for key, value in vars(part).items()
                if isinstance(value, plain) and key[0] != '_' and key != 'training'
            ),
        )
        for name, part in module.named_modules()
    ]


def prefix_tensors(
    backbone: nn.Module, num_layers: int
) -> Iterator[tuple[str, Tensor]]:
    """Yield every weight and buffer that computes what enters layer ``num_layers``."""
    later = tuple(f'layers.{i}.' for i in range(num_layers, backbone.num_layers))
    apart = (*later, *_BEHIND)
    for name, tensor in (*backbone.named_parameters(), *backbone.named_buffers()):
        if not name.startswith(apart):
            yield name, tensor


def cacheable_layers(backbone: nn.Module) -> int:
    """Count the layers that run before any tuned tensor, prompt or output.

    Raises:
        UserError: If there is none, or dropout or drop-path makes what they compute
            random.
    """
    bounds = {f'out_indices={backbone.out_indices}': backbone.out_indices[0]}
    if backbone.prompt is not None:
        prompt = type(backbone.prompt).__name__
        bounds[f'{prompt} enters layer'] = backbone.prompt.first_layer
    for name in tuning.tuned_names(backbone):
        if not name.startswith(_BEHIND):
            parts = name.split('.')
            layer = int(parts[1]) if parts[0] == 'layers' else 0
            bounds.setdefault(f'{name} trains', layer)
    reason = min(bounds, key=lambda name: bounds[name])
    count = bounds[reason]
    if count < 1:
        raise UserError(
            f'no layer runs before the first tuned tensor, prompt or output: {reason}. '
            'Give prompts to later layers only (if the prompt has `layers`), '
            'tune later layers only, or remove the cache.'
        )
    for module in backbone.layers[:count].modules():
        if isinstance(module, DropPath) and module.drop_prob > 0:
            raise UserError(
                f'drop-path (rate {module.drop_prob} in a layer before the first tuned '
                'tensor) makes the activations random, so they cannot be cached. Set '
                'drop_path_rate=0.0 in the backbone, or remove the cache.'
            )
    return count


@functools.lru_cache(maxsize=8)
def _factors(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return odd factors of words (2, _PIECE) and of pieces (2,)."""
    factors = torch.empty(2, _PIECE + 1, dtype=torch.long)
    factors.random_(generator=torch.Generator().manual_seed(0x5EED)).mul_(2).add_(1)
    factors = factors.to(device)
    return factors[:, 1:], factors[:, 0]
