# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Visual Prompt-Agnostic Evolution, PAE (Wang et al., ICLR 2026)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvpt.errors import UserError, one_of
from mmvpt.registry import PROMPTS

from .base import FrozenHost, positive
from .depth import DepthPrompt

#: Training images that the released code ranks windows by: one batch.
INIT_IMAGES = 128
_LOSSES = dict(koopman_dims=256, koopman_weight=0.5, lyapunov_weight=0.2, shared=True)


@PROMPTS.register_module()
class EvolvingPrompt(DepthPrompt):
    r"""VPT with a start by frequency windows and losses that couple its layers.

    The start (modal pre-alignment): of all windows of the centred spectrum, those M
    under which the model's loss on training images is smallest; see :meth:`initialise`.
    The losses, :func:`koopman_loss` and :func:`lyapunov_loss`, depend on parameters
    alone and are added by ``PromptLossHook``. What is computed for an image is VPT,
    but that dropout draws one mask for the batch.

    Parameters: ``tokens`` (L, M, C), or (M, C) if shallow; if deep, for training alone,
    ``lift.weight`` U (R, C), ``koopman`` K and ``lyapunov`` (R, R), or (L - 2, R, R).

    Source: `Visual Prompt-Agnostic Evolution <https://arxiv.org/abs/2601.20232>`_ and
    its `code <https://github.com/reeive/PAE>`_, whose losses these are.

    Args:
        num_tokens: Prompts of each layer (M).
        depth: ``deep``; or ``shallow``, which has the start and no losses.
        koopman_dims: Width that prompts are lifted to (R).
        koopman_weight: Weight of the Koopman loss, 0 for none.
        lyapunov_weight: Weight of the Lyapunov loss, 0 for none.
        shared: Whether all pairs of layers share K and the Lyapunov matrix.
        window: Side of a frequency window.
        stride: Step between windows.
        init: ``mpa``, which ``PromptInitHook`` does, or ``uniform``, VPT's.
        drop_rate: Dropout on the prompts. Without it, prompts that start alike stay
            alike.
        **host: What the backbone fills in, see :class:`BasePrompt`.

    Raises:
        UserError: For negative weights, or losses that have no pair of layers.
    """

    training_parameters = ('lift.weight', 'koopman', 'lyapunov')
    init_labels = True

    def __init__(
        self,
        num_tokens: int,
        depth: str = 'deep',
        koopman_dims: int = 256,
        koopman_weight: float = 0.5,
        lyapunov_weight: float = 0.2,
        shared: bool = True,
        window: int = 16,
        stride: int = 8,
        init: str = 'mpa',
        drop_rate: float = 0.1,
        **host,
    ) -> None:
        super().__init__(num_tokens, depth, drop_rate, **host)
        one_of('init', init, ('mpa', 'uniform'))
        positive(koopman_dims=koopman_dims, window=window, stride=stride)
        weights = dict(koopman_weight=koopman_weight, lyapunov_weight=lyapunov_weight)
        self._check(dict(weights, koopman_dims=koopman_dims, shared=shared))
        self.window = window
        self.stride = stride
        self.init_images = INIT_IMAGES if init == 'mpa' else 0
        self.tokens = self.learned_tokens()
        if depth == 'shallow':
            weights = dict.fromkeys(weights, 0.0)
        self.koopman_weight = weights['koopman_weight']
        self.lyapunov_weight = weights['lyapunov_weight']
        self.lift = self.koopman = self.lyapunov = None
        if any(weights.values()):
            pairs = () if shared else (self.num_layers - 2,)
            eye = torch.eye(koopman_dims).expand(*pairs, -1, -1)
            self.lift = nn.Linear(self.embed_dims, koopman_dims, bias=False)
            self.koopman = nn.Parameter(eye.clone())
            if self.lyapunov_weight:
                self.lyapunov = nn.Parameter(eye.clone())

    def _check(self, given: dict) -> None:
        """Refuse options of losses that mean nothing."""
        weights = [given['koopman_weight'], given['lyapunov_weight']]
        if min(weights) < 0:
            raise UserError(
                'koopman_weight and lyapunov_weight must not be negative, got '
                f'{weights[0]!r} and {weights[1]!r}.'
            )
        changed = sorted(name for name in given if given[name] != _LOSSES[name])
        if self.depth == 'shallow' and changed:
            raise UserError(
                f'{", ".join(changed)} are options of losses between layers, which '
                "shallow prompts do not have. Leave them out, or set depth='deep'."
            )
        if self.depth == 'deep' and self.num_layers < 3 and any(weights):
            raise UserError(
                'the losses couple the prompts of layer 1 and those behind it; a ViT '
                f'of {self.num_layers} layers has no such pair. Set koopman_weight=0, '
                'lyapunov_weight=0.'
            )

    def rows(self, i: int, batch_size: int) -> Tensor:
        """Return the prompts of layer ``i``, (1, M, C): one mask for the batch."""
        return self.dropout(self.of_layer(self.tokens, i).unsqueeze(0))

    def losses(self) -> dict[str, Tensor]:
        """Return the weighted ``koopman`` and ``lyapunov`` losses, if there are any."""
        losses = {}
        if self.koopman_weight:
            loss = koopman_loss(self.tokens, self.lift.weight, self.koopman)
            losses['koopman'] = self.koopman_weight * loss
        if self.lyapunov_weight:
            loss = lyapunov_loss(
                self.tokens, self.lift.weight, self.koopman, self.lyapunov
            )
            losses['lyapunov'] = self.lyapunov_weight * loss
        return losses

    def initialise(
        self, host: FrozenHost, batches: Iterable[tuple[Tensor, Tensor | None]]
    ) -> None:
        r"""Start from the M windows of the smallest losses; ties to the lower index.

        Losses are those of the model with prompts of zeros. For layer 0, with T
        (B, N, C) the patches of the filtered images as they enter it and
        :math:`e = \sum_C T^2`, prompt m is :math:`\sum e T / \sum e` over images and
        patches of the m-th window. The prompts of layer i + 1 are what layer i makes of
        those of layer i alone.

        Arguments as of :meth:`BasePrompt.initialise`.

        Raises:
            UserError: If there are no labels, or fewer windows than prompts.
        """
        pairs = list(batches)
        if any(labels is None for _, labels in pairs):
            raise UserError(
                'EvolvingPrompt ranks windows by the loss of labelled images, but '
                "there are no labels. Set init='uniform'."
            )
        images = torch.cat([part for part, _ in pairs])
        labels = _joined([part for _, part in pairs])
        self._check_windows(images.shape[-2:])
        if self.dropout.p == 0:
            warnings.warn(
                'EvolvingPrompt: prompts of this start are nearly equal, and without '
                'dropout they get equal gradients. Set drop_rate above 0.',
                stacklevel=2,
            )
        with torch.no_grad():
            self.tokens.zero_()
            filtered = spectral_windows(images, self.window, self.stride)
            ranked = torch.stack([host.loss(x, labels).double() for x in filtered])
            chosen = ranked.sort(stable=True)[1][: self.num_tokens].tolist()
            windows = spectral_windows(images, self.window, self.stride, chosen)
            first = {s: self._token(host, x) for s, x in zip(sorted(chosen), windows)}
            layers = [torch.stack([first[s] for s in chosen])]
            for i in range(self.num_prompted - 1):
                layers.append(host.layer(i, layers[-1][None])[0])
        self.fill(self.tokens, torch.stack(layers).view_as(self.tokens))

    @staticmethod
    def _token(host: FrozenHost, images: Tensor) -> Tensor:
        """Return the mean of patches entering layer 0, weighted by energy, (C,)."""
        patches = host.embed(images)[:, host.num_extra :]
        energy = patches.square().sum(-1, keepdim=True)
        return (energy / energy.sum() * patches).sum((0, 1))

    def _check_windows(self, size: tuple[int, int]) -> None:
        counts = [(side - self.window) // self.stride + 1 for side in size]
        if min(counts) < 1 or counts[0] * counts[1] < self.num_tokens:
            raise UserError(
                f'EvolvingPrompt: images of {size[0]} x {size[1]} pixels have '
                f'{max(counts[0], 0) * max(counts[1], 0)} frequency windows of side '
                f'{self.window} with stride {self.stride}, but '
                f'num_tokens={self.num_tokens} are wanted. Lower window, stride or '
                'num_tokens.'
            )


def _joined(labels: list) -> Tensor | list:
    """Return the labels of batches as one: tensors (b,), or lists of samples."""
    if isinstance(labels[0], Tensor):
        return torch.cat(labels)
    return [sample for part in labels for sample in part]


def spectral_windows(
    images: Tensor, window: int, stride: int, chosen: Iterable[int] | None = None
) -> Iterator[Tensor]:
    r"""Yield images with the frequencies of one window of the centred spectrum.

    Window :math:`s = aA' + b` are rows :math:`[ar, ar + w)` and columns
    :math:`[br, br + w)` of the spectrum with frequency zero in the middle.

    Args:
        images: (B, 3, H, W).
        window: Side w.
        stride: Step r.
        chosen: Windows to yield, in ascending order; all if None.
    """
    axes = (-2, -1)
    exact = images if images.dtype == torch.float64 else images.float()
    spectrum = torch.fft.fftshift(torch.fft.fft2(exact), dim=axes)
    rows, columns = (range(0, side - window + 1, stride) for side in images.shape[-2:])
    wanted = None if chosen is None else set(chosen)
    for s, (y, x) in enumerate((y, x) for y in rows for x in columns):
        if wanted is not None and s not in wanted:
            continue
        kept = torch.zeros_like(spectrum)
        here = (..., slice(y, y + window), slice(x, x + window))
        kept[here] = spectrum[here]
        filtered = torch.fft.ifft2(torch.fft.ifftshift(kept, dim=axes)).real
        yield filtered.to(images.dtype)


def koopman_loss(tokens: Tensor, lift: Tensor, koopman: Tensor) -> Tensor:
    r"""Return how far K is from leading the lifted prompts on, a scalar.

    With :math:`z_i = P_i U^T`, over the pairs of layers i = 1 to L - 2 the sum of the
    mean of :math:`(z_i K - z_{i+1})^2`. The prompts of layer 0 are in no pair.

    Args:
        tokens: P (L, M, C).
        lift: U (R, C).
        koopman: K (R, R), or (L - 2, R, R), one for each pair.
    """
    z = tokens[1:] @ lift.mT
    return (z[:-1] @ koopman - z[1:]).square().mean((-2, -1)).sum()


def lyapunov_loss(
    tokens: Tensor, lift: Tensor, koopman: Tensor, lyapunov: Tensor
) -> Tensor:
    r"""Return how much the energy of the lifted prompts grows under K, a scalar.

    With :math:`Q = \Lambda^T \Lambda` divided by its largest singular value,
    :math:`n(z) = z / \max(|z|, 1)` and :math:`V(z) = n(z) Q n(z)^T`, over the pairs of
    layers the sum of :math:`10 \tanh(s / 10)`, s the mean over prompts of
    :math:`\mathrm{softplus}(V(z_i K) - V(z_i))`.

    Args:
        tokens: (L, M, C).
        lift: U (R, C).
        koopman: K (R, R) or (L - 2, R, R).
        lyapunov: :math:`\Lambda`, shape of K.
    """
    form = lyapunov.mT @ lyapunov
    largest = torch.linalg.matrix_norm(form, 2, keepdim=True)
    form = form / (largest + 1e-8)

    def energy(z: Tensor) -> Tensor:
        z = z / (z.norm(dim=-1, keepdim=True) + 1e-8).clamp(min=1)
        return (z @ form * z).sum(-1)

    z = (tokens[1:] @ lift.mT)[:-1]
    growth = F.softplus(energy(z @ koopman) - energy(z)).mean(-1)
    return (10 * torch.tanh(growth / 10)).sum()
