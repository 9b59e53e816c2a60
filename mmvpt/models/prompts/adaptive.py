# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Visual Adaptive Prompt Tuning, VAPT (Le et al., ICLR 2026)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvpt.errors import UserError, one_of
from mmvpt.registry import PROMPTS

from .base import BasePrompt, drop_for_each_image, patch_uniform_, positive, rate

ACTIVATIONS = {
    'relu': F.relu,
    'gelu': F.gelu,
    'sigmoid': torch.sigmoid,
    'softmax': lambda x: x.softmax(dim=-1),
    None: lambda x: x,
}
INITS = ('average', 'released', 'small')


@PROMPTS.register_module()
class AdaptivePrompt(BasePrompt):
    r"""Prompts that every layer but the first generates from the patches it reads.

    Layer 0 has learned tokens. Before layer i the patches X (B, N, C) become

    .. math::
        Z &= \mathrm{LN}_i(X) \\
        G_j &= \sum_s \alpha_{i,j,s} \, \mathrm{Drop2d}(F_i * Z)_s + b_{i,j} \\
        P &= G + W_2 \, \mathrm{Drop}(\mathrm{ReLU}(W_1 G))

    where :math:`F_i` is one K x K kernel for all channels, without bias, on the patch
    grid; s runs over its S = H' W' positions; and the bottleneck :math:`W_1, W_2` is
    shared by all layers. What layers write at the prompts is thrown away.

    Convolution and token projection together are one linear map over the patch grid and
    are computed as that. On another grid than that of ``img_size`` the map is
    multiplied by the antialiased bilinear resampling from that grid to the training
    grid. Prompts are those of normed features resized to the training grid, so a
    constant feature gives the same prompt at every size.

    There is **no shallow form**: with learned tokens alone it is VPT
    (:class:`~mmvpt.models.prompts.ShallowPrompt`,
    :class:`~mmvpt.models.prompts.DeepPrompt`).

    Parameters, with A = L - ``static_layers`` and S positions: ``tokens`` (M, C), or
    (static_layers, M, C) if that is above 1; ``norms.{a}``; ``kernels`` (A, K, K), or
    (A, C, K, K); ``token_weights`` :math:`\alpha` (A, M, S); ``token_biases`` b (A, M);
    ``reduce.weight`` :math:`W_1` (r, C) and ``expand.weight`` :math:`W_2` (C, r), or
    ``reduce.{a}.weight`` and ``expand.{a}.weight``; ``scales`` (1,) or (A,).

    Source: `VAPT <https://arxiv.org/abs/2501.18936>`_. The defaults are those of its
    `code <https://github.com/Minhchuyentoancbn/VAPT>`_ but for ``init``, which is
    ``released`` there. The paper has ``residual=False``, ``token_bias=False``,
    ``static_layers=0`` and mentions no dropout.

    Args:
        num_tokens: Prompts of each layer (M).
        kernel_size: Side K of the kernel, or None for no convolution.
        padding: Zeros around the patch grid.
        bottleneck: Hidden width r of the feature projector, or None for none, P = G.
        drop_rate: Dropout on the learned tokens, drawn for each image.
        conv_drop_rate: Dropout of whole channels of the convolution's output.
        mlp_drop_rate: Dropout of hidden units in the bottleneck.
        init: ``average``: F averages its window and :math:`\alpha \sim
            \mathrm{Exp}(1) / S`, so that prompts start as random averages of the
            normed patches; it leaves the features of a pretrained ViT nearly what they
            were, and is safe with AdamW and AMP. ``released``: F is normal and
            :math:`\alpha = 0`, so all generated prompts start at exactly zero, where
            the layer's norm amplifies the first gradients about 1000 times; meant for
            SGD with a first epoch at learning rate 0. ``small``: F and :math:`\alpha`
            are normal, prompts about as large as VPT's; random signs turn them into
            negated patches, which a pretrained ViT has never seen.
        static_layers: Layers with learned tokens, before those with generated ones.
        residual: Whether the bottleneck is added to G or replaces it.
        token_bias: Whether there are biases b.
        shared_kernel: One kernel for all channels of a layer, or one for each.
        shared_projector: One bottleneck for all layers, or one for each.
        learnable_scale: Whether a learned factor, from 1, multiplies the bottleneck.
        activation: ``relu``, ``gelu``, ``sigmoid``, ``softmax`` over the hidden units,
            or None.
        **host: What the backbone fills in, see :class:`BasePrompt`.

    Raises:
        UserError: For a value that is not allowed, an option of a part that is
            switched off, a patch grid smaller than the kernel, or ``depth='shallow'``.
    """

    norm_eps = 1e-5

    def __init__(
        self,
        num_tokens: int,
        kernel_size: int | None = 2,
        padding: int = 0,
        bottleneck: int | None = 8,
        drop_rate: float = 0.1,
        conv_drop_rate: float = 0.1,
        mlp_drop_rate: float = 0.1,
        init: str = 'average',
        static_layers: int = 1,
        residual: bool = True,
        token_bias: bool = True,
        shared_kernel: bool = True,
        shared_projector: bool = True,
        learnable_scale: bool = False,
        activation: str | None = 'relu',
        **host,
    ) -> None:
        if host.pop('depth', 'deep') != 'deep':
            raise UserError(
                'AdaptivePrompt has no shallow form: every layer generates prompts of '
                'its own. Use ShallowPrompt for learned tokens that enter once.'
            )
        super().__init__(**host)
        positive(num_tokens=num_tokens)
        rate(
            drop_rate=drop_rate,
            conv_drop_rate=conv_drop_rate,
            mlp_drop_rate=mlp_drop_rate,
        )
        self._check_choices(init, activation, static_layers)
        for name, value in dict(kernel_size=kernel_size, bottleneck=bottleneck).items():
            if value is not None:
                positive(**{name: value})
        _check_parts('static_layers', static_layers, drop_rate=(drop_rate, 0))
        _check_parts(
            'bottleneck',
            bottleneck,
            mlp_drop_rate=(mlp_drop_rate, 0),
            residual=(residual, True),
            shared_projector=(shared_projector, True),
            learnable_scale=(learnable_scale, False),
            activation=(activation, 'relu'),
        )
        _check_parts(
            'kernel_size',
            kernel_size,
            conv_drop_rate=(conv_drop_rate, 0),
            padding=(padding, 0),
            shared_kernel=(shared_kernel, True),
        )
        self.num_tokens = num_tokens
        self.static_layers = static_layers
        self.padding = padding
        self.residual = residual
        self.activation = activation
        self.conv_grid = self._conv_grid(kernel_size, padding)

        dims, layers = self.embed_dims, self.num_layers - static_layers
        self.tokens = None
        if static_layers:
            rows = () if static_layers == 1 else (static_layers,)
            self.tokens = nn.Parameter(torch.empty(*rows, num_tokens, dims))
        self.norms = nn.ModuleList(
            nn.LayerNorm(dims, eps=self.norm_eps) for _ in range(layers)
        )
        self.kernels = None
        if kernel_size is not None:
            channels = () if shared_kernel else (dims,)
            shape = (layers, *channels, kernel_size, kernel_size)
            self.kernels = nn.Parameter(torch.empty(shape))
        positions = math.prod(self.conv_grid)
        self.token_weights = nn.Parameter(torch.empty(layers, num_tokens, positions))
        self.token_biases = None
        if token_bias:
            self.token_biases = nn.Parameter(torch.zeros(layers, num_tokens))
        self._build_projector(bottleneck, layers, shared_projector, learnable_scale)
        self.dropout = nn.Dropout(drop_rate)
        self.channel_dropout = nn.Dropout(conv_drop_rate)
        self.hidden_dropout = nn.Dropout(mlp_drop_rate)
        self._init_parameters(init)

    def forward(
        self,
        i: int,
        patches: Tensor,
        grid: tuple[int, int],
        entered: Tensor | None = None,
        left: Tensor | None = None,
    ) -> Tensor:
        """Return learned tokens for the first layers, afterwards generated ones.

        Shapes as in :meth:`BasePrompt.forward`.
        """
        if i < self.static_layers:
            tokens = self.tokens if self.static_layers == 1 else self.tokens[i]
            return drop_for_each_image(tokens, self.dropout, patches.shape[0])
        return self.generate(i - self.static_layers, patches, grid)

    def is_static(self, i: int) -> bool:
        """Those of the first layers, which are learned."""
        return i < self.static_layers

    def generate(self, a: int, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Generate the prompts of the a-th adaptive layer, (B, M, C).

        The norm's weight and bias are channel-wise and the map is not, so they apply
        after it, to M rows instead of N.

        Args:
            a: Index among the layers with generated prompts, from 0.
            patches: Patch tokens entering the layer, (B, N, C).
            grid: Rows and columns of the patches.
        """
        norm, weights = self.norms[a], self.linear_map(a, grid)
        normed = F.layer_norm(patches, norm.normalized_shape, eps=norm.eps)
        if len(weights) == 1:
            # Not `@`, which would copy all patches to fold the batch into one product.
            tokens = torch.bmm(weights.expand(normed.shape[0], -1, -1), normed)
        else:
            tokens = torch.einsum('cmn,bnc->bmc', weights, normed)
        tokens = tokens * norm.weight + weights.sum(-1).mT * norm.bias
        if self.kernels is not None:
            # One draw for each image and channel, as Dropout2d draws them.
            tokens = tokens * self.channel_dropout(torch.ones_like(tokens[:, :1]))
        if self.token_biases is not None:
            tokens = tokens + self.token_biases[a].unsqueeze(-1)
        return self.project(a, tokens)

    def linear_map(self, a: int, grid: tuple[int, int]) -> Tensor:
        r"""Return convolution and token projection as one map over a patch grid.

        :math:`\alpha'_{j,h,w} = \sum_{u,v} F_{u,v} \, \alpha_{j,h-u+p,w-v+p}`, the
        transposed convolution of the token weights.

        Args:
            a: Index among the layers with generated prompts, from 0.
            grid: Rows and columns of the patches.

        Returns:
            (1, M, N), or (C, M, N) if each channel has a kernel of its own.
        """
        weights = self.token_weights[a].unflatten(1, self.conv_grid).unsqueeze(1)
        if self.kernels is not None:
            kernel = self.kernels[a]
            kernel = kernel.reshape(1, -1, *kernel.shape[-2:])
            weights = F.conv_transpose2d(weights, kernel, padding=self.padding)
        if tuple(grid) != self.patch_grid:
            rows, columns = (
                resampling(new, old, weights) for new, old in zip(grid, self.patch_grid)
            )
            weights = rows.mT @ weights @ columns
        return weights.flatten(2).transpose(0, 1)

    def project(self, a: int, tokens: Tensor) -> Tensor:
        """Run the feature projector on tokens (B, M, C)."""
        if self.reduce is None:
            return tokens
        shared = isinstance(self.reduce, nn.Linear)
        reduce = self.reduce if shared else self.reduce[a]
        expand = self.expand if shared else self.expand[a]
        hidden = ACTIVATIONS[self.activation](reduce(tokens))
        out = expand(self.hidden_dropout(hidden))  # type: ignore[misc]
        if self.scales is not None:
            out = out * self.scales[0 if shared else a]
        return tokens + out if self.residual else out

    def _build_projector(
        self, bottleneck: int | None, layers: int, shared: bool, learnable_scale: bool
    ) -> None:
        self.reduce = self.expand = self.scales = None
        if bottleneck is None:
            return
        dims = self.embed_dims

        def linear(inputs: int, outputs: int) -> nn.Module:
            if shared:
                return nn.Linear(inputs, outputs, bias=False)
            return nn.ModuleList(
                nn.Linear(inputs, outputs, bias=False) for _ in range(layers)
            )

        self.reduce, self.expand = linear(dims, bottleneck), linear(bottleneck, dims)
        if learnable_scale:
            self.scales = nn.Parameter(torch.ones(1 if shared else layers))

    def _conv_grid(self, kernel_size: int | None, padding: int) -> tuple[int, int]:
        """Return rows and columns of the convolution's output at the training size."""
        if kernel_size is None:
            return self.patch_grid
        if not isinstance(padding, int) or padding < 0:
            raise UserError(
                f'padding must be an integer of at least 0, got {padding!r}.'
            )
        if padding >= kernel_size:
            raise UserError(
                f'padding={padding} must be below kernel_size={kernel_size}, or '
                'positions would see nothing but zeros.'
            )
        rows, columns = (n + 2 * padding - kernel_size + 1 for n in self.patch_grid)
        if min(rows, columns) < 1:
            raise UserError(
                f'kernel_size={kernel_size} does not fit the patch grid '
                f'{self.patch_grid} with padding={padding}; use a smaller kernel or a '
                'larger img_size.'
            )
        return rows, columns

    def _init_parameters(self, init: str) -> None:
        if self.tokens is not None:
            patch_uniform_(self.tokens, self.patch_size)
        side = 1 if self.kernels is None else self.kernels.shape[-1]
        positions = self.token_weights.shape[-1]
        if self.kernels is not None and init == 'average':
            nn.init.constant_(self.kernels, 1 / side**2)
        elif self.kernels is not None:
            nn.init.normal_(self.kernels)
        if init == 'average':
            with torch.no_grad():
                self.token_weights.exponential_().div_(positions)
        elif init == 'released':
            nn.init.zeros_(self.token_weights)
        else:
            # Normed features have variance 1 and the kernel a norm of about K. Tokens
            # of U(-v, v) have a standard deviation of v / sqrt(3).
            bound = math.sqrt(6 / (3 * self.patch_size**2 + self.embed_dims))
            std = bound / math.sqrt(3) / (side * math.sqrt(positions))
            nn.init.normal_(self.token_weights, std=std)

    def _check_choices(
        self, init: str, activation: str | None, static_layers: int
    ) -> None:
        one_of('init', init, INITS)
        one_of('activation', activation, ACTIVATIONS)
        if not isinstance(static_layers, int) or not (
            0 <= static_layers < self.num_layers
        ):
            raise UserError(
                f'static_layers must be between 0 and {self.num_layers - 1}, got '
                f'{static_layers!r}; with learned tokens in all {self.num_layers} '
                'layers use DeepPrompt.'
            )


def resampling(size: int, target: int, like: Tensor) -> Tensor:
    """Return the matrix (target, size) of antialiased bilinear resampling of one axis.

    Each of its rows sums to 1, so a constant stays that constant.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    one_hot = torch.eye(size, dtype=dtype, device=like.device)
    matrix = F.interpolate(
        one_hot[None, None], size=(target, size), mode='bilinear', antialias=True
    )
    return matrix[0, 0].to(like.dtype)


def _check_parts(part: str, switch: int | None, **options: tuple) -> None:
    """Refuse options (value, value without effect) of a part that is switched off."""
    given = [(name, *pair) for name, pair in options.items() if pair[0] != pair[1]]
    if switch in (None, 0) and given:
        name, value, off = given[0]
        raise UserError(
            f'{name}={value!r} has no effect with {part}={switch}; set it to {off!r} '
            f'or change {part}.'
        )
