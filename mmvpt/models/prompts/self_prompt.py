# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Self-Prompt Tuning (Wang et al., ICML 2024)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from mmvpt.errors import UserError, one_of
from mmvpt.registry import PROMPTS

from .base import FrozenHost, positive
from .depth import DepthPrompt


@PROMPTS.register_module()
class SelfPrompt(DepthPrompt):
    r"""VPT whose prompts start as patch tokens of training images.

    The start of layer i's prompts are M of the rows :math:`E_i`, the patches of all
    images as they enter layer i of the ViT without prompts; those of layer 0 without
    position embedding. Rows are drawn without replacement, for each layer anew.
    ``PromptInitHook`` sets them before training; what trains and what is computed is
    VPT.

    Parameter ``tokens`` (L, M, C), or (M, C) if shallow; VPT's start until then.

    Source: `Revisiting the Power of Prompt for Visual Tuning
    <https://arxiv.org/abs/2402.02382>`_ and its
    `code <https://github.com/WangYZ1608/Self-Prompt-Tuning>`_.

    Args:
        num_tokens: Prompts of each layer (M).
        depth: ``deep``, or ``shallow``: prompts of layer 0 alone.
        sampling: What is drawn from: ``random`` the patches themselves; ``mean`` or
            ``max`` over each of M windows of each image, see :func:`windows`. For
            shallow prompts ``random``.
        num_images: Images to draw from; by default as many as prompts, so that each
            may come from an image of its own.
        drop_rate: Dropout on the prompts, drawn for each image and layer.
        **host: What the backbone fills in, see :class:`BasePrompt`.

    Raises:
        UserError: For an unknown word, or windows that cannot be.
    """

    def __init__(
        self,
        num_tokens: int,
        depth: str = 'deep',
        sampling: str = 'random',
        num_images: int | None = None,
        drop_rate: float = 0.0,
        **host,
    ) -> None:
        super().__init__(num_tokens, depth, drop_rate, **host)
        one_of('sampling', sampling, ('random', 'mean', 'max'))
        if sampling != 'random' and depth == 'shallow':
            raise UserError(
                f'sampling={sampling!r} is for deep prompts; shallow ones are drawn '
                "from the patches themselves. Set sampling='random' or depth='deep'."
            )
        if sampling != 'random' and num_tokens < 2:
            raise UserError(
                f'sampling={sampling!r} cuts an image into num_tokens - 1 windows, so '
                f'num_tokens must be at least 2; got {num_tokens}.'
            )
        if num_images is not None:
            positive(num_images=num_images)
        self.sampling = sampling
        self.init_images = num_images or num_tokens * self.num_prompted
        self.tokens = self.learned_tokens()

    def draw(self, i: int, count: int) -> Tensor:
        """Return M of ``count`` rows for layer ``i``, without replacement, (M,)."""
        noise = torch.rand(count, generator=self.generator(i))
        return noise.argsort()[: self.num_tokens]

    def initialise(
        self, host: FrozenHost, batches: Iterable[tuple[Tensor, Tensor | None]]
    ) -> None:
        """Draw rows, run the images that own one, and start from them.

        Arguments as of :meth:`BasePrompt.initialise`.

        Raises:
            UserError: If there are fewer rows than prompts, or patches than windows.
        """
        images = [batch for batch, _ in batches]
        num_images = sum(map(len, images))
        num_patches = host.embed(images[0][:1], positions=False).shape[1]
        per_image = num_patches if self.sampling == 'random' else self.num_tokens
        chosen = []
        for i in range(self.num_prompted):
            rows = self._drawn(i, num_images * per_image)
            if self.sampling == 'random':  # image after image
                chosen.append((rows // num_patches, rows % num_patches))
            else:  # window after window
                chosen.append((rows % num_images, rows // num_images))
        found = torch.empty(self.num_prompted, self.num_tokens, self.embed_dims)
        found, begin = found.to(self.tokens), 0
        for batch in images:
            self._read(host, batch, begin, chosen, found)
            begin += len(batch)
        self.fill(self.tokens, found.view_as(self.tokens))

    def _drawn(self, i: int, count: int) -> Tensor:
        if count < self.num_tokens:
            raise UserError(
                f'SelfPrompt: num_tokens={self.num_tokens} rows cannot be drawn from '
                f'{count}. Raise num_images or lower num_tokens.'
            )
        return self.draw(i, count).cpu()

    def _read(
        self,
        host: FrozenHost,
        batch: Tensor,
        begin: int,
        chosen: list[tuple[Tensor, Tensor]],
        found: Tensor,
    ) -> None:
        """Write the chosen rows of one batch, whose first image is ``begin``."""
        inside = [(begin <= n) & (n < begin + len(batch)) for n, _ in chosen]
        owners = [image[here] for (image, _), here in zip(chosen, inside)]
        used = torch.cat(owners).unique()
        if not len(used):
            return
        batch = batch[used.to(batch.device) - begin]
        for i, seen in zip(range(len(chosen)), host.trace(batch)):
            patches = seen['tokens'][:, host.num_extra :]
            if i == 0:
                patches = host.embed(batch, positions=False)
            if self.sampling != 'random':
                patches = windows(patches, self.num_tokens, self.sampling)
            image = torch.searchsorted(used, owners[i])
            found[i, inside[i]] = patches[image, chosen[i][1][inside[i]]].to(found)


def windows(patches: Tensor, num_tokens: int, sampling: str) -> Tensor:
    """Return the mean or maximum over M windows of each image, (B, M, C).

    With w = N // (M - 1) the first M - 1 windows are w patches each, in the order of
    rows; the last are the last N mod w patches, or **all** of them if that is 0, as in
    the released code. Patches in between are in no window.

    Args:
        patches: (B, N, C).
        num_tokens: M.
        sampling: ``mean`` or ``max``.

    Raises:
        UserError: If there are fewer patches than windows.
    """
    count = patches.shape[1]
    width = count // (num_tokens - 1)
    if width == 0:
        raise UserError(
            f'SelfPrompt: {count} patches cannot be cut into num_tokens - 1 = '
            f'{num_tokens - 1} windows. Lower num_tokens.'
        )
    parts = [patches[:, p * width : (p + 1) * width] for p in range(num_tokens - 1)]
    parts.append(patches[:, -(count % width) :])
    pooled = [x.mean(1) if sampling == 'mean' else x.amax(1) for x in parts]
    return torch.stack(pooled, dim=1)
