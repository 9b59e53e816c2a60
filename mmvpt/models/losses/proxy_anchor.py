# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The metric loss of DA-VPT."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvpt.errors import UserError, one_of
from mmvpt.registry import MODELS

POSITIVES = ('present', 'all')
KINDS = ('anchor', 'nca')
REDUCE = ('sum', 'mean')


@MODELS.register_module()
class ProxyAnchorLoss(nn.Module):
    r"""Pull vectors to the proxy of their group and away from the others.

    With :math:`s_{ik} = r \cos(x_i, p_k)` and :math:`y_i` the proxy of :math:`x_i`,
    ``kind='anchor'`` looks from each proxy at the batch:

    .. math::
        \ell = \frac{1}{|P^+|} \sum_k \log\Bigl(1 + \sum_{i: y_i = k}
               e^{-\alpha (s_{ik} - \delta)}\Bigr)
             + \frac{1}{|P|} \sum_k \log\Bigl(1 + \sum_{i: y_i \ne k}
               e^{\alpha (s_{ik} + \delta)}\Bigr)

    where :math:`P^+` are the proxies with a vector of theirs in the batch.
    ``kind='nca'`` looks from each vector at the proxies, with the same two terms summed
    over proxies and averaged over the batch.

    Source: `DA-VPT <https://arxiv.org/abs/2505.23694>`_, Eq. 4, after `Proxy Anchor
    <https://arxiv.org/abs/2003.13911>`_. DA-VPT's text gives the margin as 32 and the
    temperature as 10, evidently a slip for Proxy Anchor's alpha 32 and margin 0.1,
    which its code has.

    Args:
        alpha: Sharpness.
        margin: Margin of the cosine.
        scale: Factor r of the proxies. It acts like alpha * r with margin / r; most
            of DA-VPT's released configs have 5.
        positives: What the positive term of ``anchor`` is divided by: ``present``
            proxies as in the papers, or ``all`` as in DA-VPT's released code.
        kind: ``anchor`` or ``nca``.
        reduce: What is done to the exponentials inside the logarithms: their ``sum``,
            as in the papers, or their ``mean``. n vectors of a group widen the margin
            of the sum by log(n) / (alpha * scale), which is nothing for images of a
            batch but 0.25 for 3000 patches; the mean does not depend on their number.

    Raises:
        UserError: For a value that is not allowed.
    """

    def __init__(
        self,
        alpha: float = 32.0,
        margin: float = 0.1,
        scale: float = 1.0,
        positives: str = 'present',
        kind: str = 'anchor',
        reduce: str = 'sum',
    ) -> None:
        super().__init__()
        if not alpha > 0 or not scale > 0:
            raise UserError(
                f'alpha and scale must be positive, got {alpha!r} and {scale!r}; at 0 '
                'the loss is a constant.'
            )
        one_of('positives', positives, POSITIVES)
        one_of('kind', kind, KINDS)
        one_of('reduce', reduce, REDUCE)
        self.alpha = alpha
        self.margin = margin
        self.scale = scale
        self.positives = positives
        self.kind = kind
        self.reduce = reduce

    def forward(self, x: Tensor, proxies: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Args:
            x: Vectors, (B, C), of any length.
            proxies: Proxies, (M, C), of any length.
            targets: Index of the proxy of each vector, (B,); -1 for those that do not
                count.
        """
        return self.from_cosines(self.cosines(x, proxies), targets)

    @staticmethod
    def cosines(x: Tensor, proxies: Tensor) -> Tensor:
        """Return the cosines of vectors (B, C) and proxies (M, C), (B, M)."""
        return F.normalize(x, dim=-1) @ F.normalize(proxies, dim=-1).mT

    def from_cosines(self, cosines: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of given cosines (B, M) and targets (B,), a scalar.

        It is 0, with gradient 0, if no vector counts.
        """
        own = targets[:, None] == torch.arange(cosines.shape[1], device=targets.device)
        counted = targets[:, None] >= 0
        s = self.scale * cosines
        dim = 0 if self.kind == 'anchor' else 1
        mean = self.reduce == 'mean'
        pull, push = -self.alpha * (s - self.margin), self.alpha * (s + self.margin)
        positive = log_one_plus_sum_exp(pull, own, dim, mean)
        negative = log_one_plus_sum_exp(push, ~own & counted, dim, mean)
        if self.kind == 'nca':
            return (positive + negative).sum() / counted.sum().clamp(min=1)
        if self.positives == 'present':
            present = own.any(dim=0).sum().clamp(min=1)
            return positive.sum() / present + negative.mean()
        return positive.mean() + negative.mean()


def log_one_plus_sum_exp(
    x: Tensor, mask: Tensor, dim: int, mean: bool = False
) -> Tensor:
    r"""Return :math:`\log(1 + \sum_{mask} e^x)` along ``dim``, without overflow.

    It is 0, with gradient 0, where nothing is selected.

    Args:
        x: Values, (B, M).
        mask: Which of them count, bool (B, M).
        dim: The dimension that is reduced.
        mean: Whether to take the mean of the exponentials instead of their sum.
    """
    if mean:
        x = x - mask.sum(dim=dim, keepdim=True).clamp(min=1).to(x.dtype).log()
    x = x.masked_fill(~mask, torch.finfo(x.dtype).min)
    one = x.new_zeros([1 if d == dim else n for d, n in enumerate(x.shape)])
    return torch.cat([x, one], dim=dim).logsumexp(dim=dim)
