# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Activations of the frozen layers before the first tuned tensor, kept on disk."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakKeyDictionary

import diskcache
import torch
from mmcv.cnn.bricks.drop import DropPath
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor, nn

from mmvpt.errors import UserError
from mmvpt.models import tunable as tuning

from .snapshot import Snapshot, is_counted, precision_state

_BEHIND = ('prompt.', 'ln1.', 'ln2.', 'pool.')  # names that no prefix reads
_PIECE = 2**18  # words that are hashed at once, so that few bytes lie about


class PrefixCache:
    """Computes what enters layer k once for each image, and reads it afterwards.

    The key of an image is a 128-bit hash of the tensor that enters the backbone, so
    whatever changes the data (another transform, normalisation or crop) is another
    image; and a hash of the weights, settings and precision that the prefix runs with,
    so another backbone has other entries. The latter hash is taken anew when the
    weights may have changed, see :class:`Snapshot`; weights made in inference mode use
    no cache. So nothing stale is read. Processes that run at the same time (the trials
    of a search, the ranks of a training) share what they find.

    Args:
        folder: Where the entries go, a ``diskcache.Cache``; they serve later runs too.
        num_layers: Layers that are skipped (k).
        max_bytes: What the folder holds at most, but for one image. Where it is full,
            what was kept first gives way. Nobody adds more than that, so that a data
            set which is larger does not push itself out: images beyond are computed
            each time.

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
        self.num_layers, self.max_bytes = num_layers, max_bytes
        self.hits = self.misses = self.added = self.refused = 0
        self._added_bytes = 0
        self._fingerprints: WeakKeyDictionary = WeakKeyDictionary()
        self._entries = diskcache.Cache(
            str(folder),
            size_limit=max_bytes,
            cull_limit=2,  # images that give way to one
            sqlite_journal_mode='truncate',  # network disks lack the default one
        )

    def __deepcopy__(self, memo: dict) -> PrefixCache:
        """Copies of a model (as for EMA) read the same cache."""
        return self

    @property
    def stored(self) -> int:
        """Bytes that the folder holds."""
        return self._entries.volume()

    def close(self) -> None:
        """Close the files; they open again when they are asked for."""
        self._entries.close()

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
        name = self._name(fingerprint, inputs)
        keys = [f'{name}/{key}' for key in hash_rows(inputs)]
        found = [self._read(key) for key in keys]
        missing = [b for b, entry in enumerate(found) if entry is None]
        read = [entry for entry in found if entry is not None]
        self.hits += len(read)
        self.misses += len(missing)
        if not read:
            tokens, grid = self._compute(backbone, inputs)
            self._keep(keys, tokens, grid)
            return tokens, grid
        known = torch.stack([row for row, _ in read]).to(inputs.device)
        grid = read[0][1]
        if not missing:
            return known, grid
        fresh, _ = self._compute(backbone, inputs[missing])
        self._keep([keys[b] for b in missing], fresh, grid)
        tokens = fresh.new_empty(len(keys), *fresh.shape[1:])
        tokens[missing] = fresh
        tokens[[b for b, entry in enumerate(found) if entry is not None]] = known
        return tokens, grid

    def _read(self, key: str) -> tuple[Tensor, tuple[int, int]] | None:
        """Return what is kept of an image, None if there is nothing whole."""
        value = self._entries.get(key, retry=True)
        if value is None:
            return None
        try:
            found = safetensors.load(value)
        except SafetensorError:  # a power cut, a full disk
            return None
        return found['tokens'], tuple(found['grid'].tolist())

    def _keep(self, keys: list[str], tokens: Tensor, grid: tuple[int, int]) -> None:
        """Keep what was computed for images, as far as there is room."""
        new = dict(zip(keys, tokens.cpu()))  # an image may come twice
        with self._entries.transact(retry=True):
            for key, row in new.items():
                if self._added_bytes + row.nbytes > self.max_bytes:
                    self.refused += 1
                    continue
                value = dict(tokens=row.contiguous(), grid=torch.tensor(grid))
                self._entries.set(key, safetensors.save(value), retry=True)
                self._added_bytes += row.nbytes
                self.added += 1

    def _compute(
        self, backbone: nn.Module, inputs: Tensor
    ) -> tuple[Tensor, tuple[int, int]]:
        tokens, grid = backbone.embed(inputs)
        *_, state = backbone.walk(
            backbone.start(tokens, grid, prompted=False), self.num_layers - 1
        )
        return state.tokens, grid

    def _name(self, fingerprint: str, inputs: Tensor) -> str:
        """Name what images of this size, precision and kind of device share."""
        size = 'x'.join(map(str, inputs.shape[1:]))
        precision = f'{inputs.dtype} {precision_state(inputs.device)}'
        if inputs.is_cuda:  # not all round alike
            precision += torch.cuda.get_device_name(inputs.device)
        return f'{fingerprint}-k{self.num_layers}-{size}-{precision}'


def hash_rows(rows: Tensor) -> list[str]:
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
    return [pair.tobytes().hex() for pair in total.cpu().numpy()]


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
        words = row.view(torch.uint8).numpy() if on_host else hash_rows(row)[0].encode()
        digest.update(words)
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
