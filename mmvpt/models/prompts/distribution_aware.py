# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""DA-VPT: prompts that stand for groups of classes (CVPR 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvpt.errors import UserError, one_of
from mmvpt.registry import PROMPTS

from .base import BasePrompt, drop_for_each_image, positive, rate

NORMALIZE = ('none', 'l2', 'layer')
MAPPINGS = ('kmeans', 'auto', 'identity', 'balanced')
LABELS = ('image', 'patch')


@PROMPTS.register_module()
class DistributionAwarePrompt(BasePrompt):
    r"""Deep prompts; those of guided layers each stand for a group of classes.

    Every layer gets fresh prompts as in VPT-deep: M guided ones in the G guided layers,
    K others elsewhere. A map :math:`\phi` from classes to the M guided prompts, one for
    all guided layers, says which prompt a metric loss pulls an image's tokens to. The
    losses and the map are the business of ``MetricGuidanceHook`` and
    ``SemanticMappingHook``; what they compute lives here, in buffers, so that
    checkpoints hold it.

    Parameters ``guided_tokens`` (G, M, C) and ``tokens`` (L - G, K, C), rows in
    ascending order of layers; one with no entries is None. With ``normalize='layer'``
    also ``norm.weight`` and ``norm.bias`` (C,), shared by all layers. Buffers
    ``class_to_prompt`` (num_classes,), -1 where a class has no prompt yet;
    ``centroids`` (M, C), zero until the first k-means; ``class_sums`` (num_classes, C)
    and ``class_counts`` (num_classes,) of the features seen since the last update.

    Source: `DA-VPT <https://arxiv.org/abs/2505.23694>`_, sections 3.1 to 3.3, and its
    released code for initialisation and the options. ``mask=False``,
    ``init_divisor=8`` and ``mapping='auto'`` are its most frequent settings.

    Args:
        num_classes: Number of classes.
        num_guided_tokens: Prompts of each guided layer (M). With 0 those layers have no
            prompts and no layer is guided.
        num_tokens: Prompts of each other layer (K), 0 for none.
        guided_layers: Indices of guided layers, negative ones from the end; ``'all'``
            for every layer.
        mapping: How classes get their prompt. ``kmeans``: by ``SemanticMappingHook``;
            needs at least M classes. ``identity``: each class has a prompt of its own,
            M becomes ``num_classes``, the map never changes. ``auto``: ``identity`` if
            there are fewer classes than M, else ``kmeans``. ``balanced``: class c has
            prompt c mod M for good, which needs no pass over the data.
        labels: What has a class, for metric losses and class means alike. ``image``:
            each image, or crop; of several classes the majority prompt. ``patch``: each
            patch has the class of most of its pixels in ``gt_sem_seg``, which
            segmentation can choose; see docs/methods/davpt.md.
        normalize: What is done to prompts at every use: ``none``; ``l2`` rows of length
            1; ``layer`` a LayerNorm that trains.
        init_divisor: Xavier's uniform initialisation is divided by this.
        mask: Whether a prompt as a query sees patches only, so that its attention
            output gathers the image alone. Changes no feature unless prompts are
            pooled.
        drop_rate: Dropout on the prompts as they enter a layer, drawn for each image.
        **host: What the backbone fills in, see :class:`BasePrompt`.

    Raises:
        UserError: For a value that is not allowed, or fewer classes than guided
            prompts with ``kmeans`` or ``balanced``.
    """

    training_buffers = ('centroids', 'class_sums', 'class_counts')

    def __init__(
        self,
        num_classes: int,
        num_guided_tokens: int = 20,
        num_tokens: int = 20,
        guided_layers: Sequence[int] | str = (-1,),
        mapping: str = 'kmeans',
        labels: str = 'image',
        normalize: str = 'none',
        init_divisor: float = 1.0,
        mask: bool = True,
        drop_rate: float = 0.0,
        **host,
    ) -> None:
        super().__init__(**host)
        positive(num_classes=num_classes)
        counts = dict(num_guided_tokens=num_guided_tokens, num_tokens=num_tokens)
        positive(**{name: count for name, count in counts.items() if count != 0})
        rate(drop_rate=drop_rate)
        if not num_guided_tokens and not num_tokens:
            raise UserError(
                'num_guided_tokens and num_tokens are both 0; leave out the prompt.'
            )
        one_of('normalize', normalize, NORMALIZE)
        one_of('labels', labels, LABELS)
        if not init_divisor > 0:
            raise UserError(f'init_divisor must be positive, got {init_divisor!r}')
        self.num_classes = num_classes
        self.mapping = _resolve_mapping(mapping, num_classes, num_guided_tokens)
        if self.mapping == 'identity' and num_guided_tokens:
            num_guided_tokens = num_classes
        self.num_guided_tokens = num_guided_tokens
        self.num_tokens = num_tokens
        self.labels = labels
        self.normalize = normalize
        self.mask = mask

        guided = _resolve_layers(guided_layers, self.num_layers)
        others = [i for i in range(self.num_layers) if i not in guided]
        self._rows = {
            layer: row for rows in (guided, others) for row, layer in enumerate(rows)
        }
        self._guided = frozenset(guided)
        self.guided_layers = guided if num_guided_tokens else ()

        def xavier(*shape: int) -> nn.Parameter | None:
            if 0 in shape:
                return None
            tokens = nn.init.xavier_uniform_(torch.empty(*shape, self.embed_dims))
            return nn.Parameter(tokens / init_divisor)

        self.guided_tokens = xavier(len(guided), num_guided_tokens)
        self.tokens = xavier(len(others), num_tokens)
        self.norm = nn.Identity()
        if normalize == 'layer':
            self.norm = nn.LayerNorm(self.embed_dims, eps=1e-6)
        self.dropout = nn.Dropout(drop_rate)

        shape = (num_classes, self.embed_dims)
        self.register_buffer('class_to_prompt', self._first_map())
        self.register_buffer(
            'centroids', torch.zeros(num_guided_tokens, self.embed_dims).double()
        )
        self.register_buffer('class_sums', torch.zeros(shape).double())
        self.register_buffer('class_counts', torch.zeros(num_classes).long())

    @property
    def first_layer(self) -> int:
        """The first layer that has prompts, the depth if none has."""
        return min(self._layers_with_prompts, default=self.num_layers)

    @property
    def last_layer(self) -> int:
        """The last layer that has prompts, -1 if none has."""
        return max(self._layers_with_prompts, default=-1)

    @property
    def map_is_fixed(self) -> bool:
        """Whether the map is part of the configuration and never updated."""
        return self.mapping != 'kmeans' or not self.guided_layers

    def forward(
        self,
        i: int,
        patches: Tensor,
        grid: tuple[int, int],
        entered: Tensor | None = None,
        left: Tensor | None = None,
    ) -> Tensor | None:
        """Return the prompts of layer ``i``, None if it has none.

        Shapes as in :meth:`BasePrompt.forward`, M or K rows.
        """
        learned = self._learned(i)
        if learned is None:
            return None
        tokens = self._normalized(learned)
        return drop_for_each_image(tokens, self.dropout, patches.shape[0])

    def is_static(self, i: int) -> bool:
        """Every layer's."""
        return True

    def proxies(self, i: int) -> Tensor:
        """Return the normalised prompts of guided layer ``i``, (M, C)."""
        return self._normalized(self.guided_tokens[self._rows[i]])

    def assign(self, classes: Tensor) -> Tensor:
        r"""Return the prompt of every image or patch, a look-up in ``class_to_prompt``.

        An image with several classes gets the prompt that most of them map to; of
        equals the one with the lower index, so that ranks and repeated runs agree.

        Args:
            classes: The class of each image, (B,), or of each patch, (B, N), -1 for
                none; or which classes an image has, bool (B, num_classes).

        Returns:
            Indices of prompts, (B,) or (B, N); -1 where there is no class.
        """
        if classes.dtype != torch.bool:
            found = self.class_to_prompt[classes.clamp(min=0)]
            return torch.where(classes < 0, -1, found)
        votes = F.one_hot(self.class_to_prompt, self.num_guided_tokens)
        # In floats: integer products do not exist on accelerators. Counts are exact.
        votes = classes.float() @ votes.float()
        best = votes.argmax(dim=1)
        return torch.where(classes.any(dim=1), best, best.new_full((), -1))

    @property
    def _layers_with_prompts(self) -> list[int]:
        return [i for i in self._rows if self._learned(i) is not None]

    def _learned(self, i: int) -> Tensor | None:
        tokens = self.guided_tokens if i in self._guided else self.tokens
        return None if tokens is None else tokens[self._rows[i]]

    def _normalized(self, tokens: Tensor) -> Tensor:
        if self.normalize == 'l2':
            return F.normalize(tokens, dim=-1, eps=1e-6)
        return self.norm(tokens)

    def _first_map(self) -> Tensor:
        classes = torch.arange(self.num_classes)
        if self.mapping == 'kmeans' or not self.num_guided_tokens:
            return torch.full_like(classes, -1)
        return classes % self.num_guided_tokens


def _resolve_mapping(mapping: str, num_classes: int, num_guided_tokens: int) -> str:
    one_of('mapping', mapping, MAPPINGS)
    too_few = num_classes < num_guided_tokens
    if mapping == 'auto':
        return 'identity' if too_few else 'kmeans'
    if too_few and mapping != 'identity':
        raise UserError(
            f'mapping={mapping!r} needs at least as many classes as guided prompts, '
            f'got num_classes={num_classes} and num_guided_tokens={num_guided_tokens}. '
            "Use fewer prompts, or mapping='auto', which gives each class a prompt."
        )
    return mapping


def _resolve_layers(layers: Sequence[int] | str, num_layers: int) -> tuple[int, ...]:
    if layers == 'all':
        return tuple(range(num_layers))
    if isinstance(layers, (int, str)):
        raise UserError(
            f"guided_layers must be a sequence of indices or 'all', got {layers!r}"
        )
    wrong = [i for i in layers if not -num_layers <= i < num_layers]
    resolved = sorted({i % num_layers for i in layers if i not in wrong})
    if wrong or len(resolved) < len(layers):
        raise UserError(
            f'guided_layers must be different indices of the {num_layers} layers, got '
            f'{tuple(layers)!r}'
        )
    return tuple(resolved)
