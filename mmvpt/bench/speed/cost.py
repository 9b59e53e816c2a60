# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
r"""What a step costs on paper: operations and bytes by B, M, N, C and L.

B images of N patches and E further tokens (T = N + E), M prompts in each of L layers of
C channels, H heads, an MLP of h hidden channels with m matrices (2, or 3 of SwiGLU). A
product of (a, b) and (b, c) counts 2abc. Tests hold it against what PyTorch counts and
what autograd keeps.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from mmvpt.display import markdown
from mmvpt.errors import UserError
from mmvpt.models.vit.arguments import architecture


class Cost:
    """Operations and bytes of VPT-deep, of its full-token way and of fine-tuning.

    Args:
        arch: A name of ``PromptedVisionTransformer.arch_zoo``.
        image_size: Side in pixels, a multiple of the patch size.
        batch_size: Images (B).
        num_tokens: Prompts of each layer (M).
        num_classes: Classes of the head (K).
    """

    def __init__(
        self,
        arch: str,
        image_size: int = 224,
        batch_size: int = 8,
        num_tokens: int = 10,
        num_classes: int = 200,
    ) -> None:
        self.arch, self.batch_size = arch, batch_size
        self.num_tokens, self.num_classes = num_tokens, num_classes
        found = architecture(arch)
        family, patch = found.family, found.patch_size
        self.dims, self.layers, self.heads, hidden = found.numbers.values()
        self.swiglu = found.act.startswith('swiglu')
        hidden *= 3 if self.swiglu else 2  # of all its matrices
        patches = (image_size // patch) ** 2
        self.tokens = patches + family.with_cls_token + family.num_registers
        self.mlp = 2 * self.dims * hidden  # of one token
        self.embed = 2 * patches * self.dims * 3 * patch**2  # of one image
        self.turns = bool(family.rotation)
        self.weights = self.layers * self.dims * (4 * self.dims + hidden)

    @property
    def inference(self) -> int:
        """Operations of VPT-deep, keys and values of static prompts computed before.

        Per image and layer 8TC^2 + 2mTCh + 4T(T + M)C; where CLS alone is read, 8C^2 +
        2mCh + 4H(T + M)C: its query meets the normed tokens.
        """
        layers = (self.layers - 1) * self._layer(4) + self._last(4)
        return self.batch_size * (self.embed + layers + self._head)

    @property
    def training(self) -> int:
        """Operations of a step of VPT-deep, forward and backward.

        Backward takes the same products for the inputs and, in the attention, twice as
        many; nothing of what enters layer 0 has a gradient but its prompts, whose keys
        and values, 4MC^2, are those of the batch.
        """
        square, both = self.dims**2, self.tokens * (self.tokens + self.num_tokens)
        back = (self.layers - 1) * self._layer(8) + self._last(8) + 2 * self._head
        back -= 6 * self.tokens * square + 2 * both * self.dims
        prompted = self.layers - (not self.turns)
        prompts = 2 * prompted * 4 * self.num_tokens * square
        return self.inference + self.batch_size * back + prompts

    def full_token(self, mode: str) -> int:
        """Operations where every token, prompts too, goes through all of every layer.

        Args:
            mode: ``train`` or ``infer``.
        """
        rows = self.tokens + self.num_tokens
        linear = rows * (8 * self.dims**2 + self.mlp)
        attention = 4 * rows**2 * self.dims
        layers = self.layers * (linear + attention)
        if mode == 'infer':
            return self.batch_size * (self.embed + layers + self._head)
        back = self.layers * (linear + 2 * attention)
        return self.batch_size * (self.embed + layers + back + 3 * self._head)

    @property
    def kept(self) -> int:
        """Bytes that autograd keeps of a step of VPT-deep, on a CPU in float32.

        Per token and layer 5C + h + 4 floats: what enters the norms with their two
        statistics, queries, keys and values, and what enters GELU; layer 0, whose
        tokens have no gradient, keeps no first norm. Prompts keep 2MC + 2M a layer,
        once for all images. In the last layer CLS alone is read: one query meets the
        normed tokens, and the rest is kept of one row.

        Raises:
            UserError: For SwiGLU or turning keys, which keep otherwise.
        """
        dims, rows, prompts = self.dims, self.tokens, self.num_tokens
        first_norm = rows * (dims + 2)
        layer = first_norm + rows * (4 * dims + 2 + self._plain_hidden)
        last = first_norm + (rows + prompts) * dims + self.heads * (2 * dims + 1)
        last += dims + 2 + self._plain_hidden
        image = (self.layers - 1) * layer - first_norm + last + self._kept_behind
        shared = self.layers * 2 * prompts + (self.layers - 1) * 2 * prompts * dims
        return 4 * (self.batch_size * image + shared + 1)

    @property
    def kept_full_token(self) -> int:
        """The same of the full-token way, whose attention keeps its output as well.

        All its tokens are in the storage of which the final norm reads CLS.
        """
        layer = 6 * self.dims + 4 + self._plain_hidden + self.heads
        rows = self.tokens + self.num_tokens
        image = self.layers * rows * layer + self._kept_behind
        image += (self.tokens - 1) * self.dims
        return 4 * (self.batch_size * image + 1)

    @property
    def _plain_hidden(self) -> int:
        """Hidden channels (h) of a plain MLP."""
        if self.turns or self.swiglu:
            raise UserError(
                f'what {self.arch} keeps for backward is not in the cost model: it has '
                'SwiGLU or keys that turn. Use vit-* or dinov2-s, -b or -l, or measure '
                'it (tools/speed/speed.py --measure memory).'
            )
        return self.mlp // (4 * self.dims)

    @property
    def _kept_behind(self) -> int:
        """Floats of the final norm, the head and its loss, for each image."""
        return 2 * self.dims + 2 + self.num_classes + 2  # a label is two floats long

    @property
    def fine_tuning(self) -> int:
        """Operations of a training step of the whole ViT, all tokens in all layers."""
        plain = copy.copy(self)
        plain.num_tokens = 0
        return 3 * plain.full_token('infer') - self.batch_size * self.embed

    @property
    def task_parameters(self) -> int:
        """Parameters that a task adds: prompts LMC and a head CK + K."""
        prompts = self.layers * self.num_tokens * self.dims
        return prompts + (self.dims + 1) * self.num_classes

    @property
    def _head(self) -> int:
        return 2 * self.dims * self.num_classes

    def _layer(self, attention: int) -> int:
        """A layer of one image: ``attention`` times T(T + M)C, and linear layers."""
        seen = self.tokens + self.num_tokens
        linear = self.tokens * (8 * self.dims**2 + self.mlp)
        return linear + attention * self.tokens * seen * self.dims

    def _last(self, attention: int) -> int:
        """The same of the layer where CLS alone is read."""
        seen, square = self.tokens + self.num_tokens, self.dims**2
        if self.turns:  # keys turn with their place: every token has its own
            linear = (4 + 4 * self.tokens) * square
            return linear + attention * seen * self.dims + self.mlp
        return 8 * square + attention * self.heads * seen * self.dims + self.mlp


def show(
    *,
    arch: Sequence[str] = ('vit-b', 'vit-l', 'dinov3-7b'),
    image_size: int = 256,
    num_tokens: Sequence[int] = (10, 50, 100),
    num_classes: int = 1000,
    tasks: int = 1000,
) -> str:
    """Print what one image costs, and many tasks beside one backbone.

    Args:
        arch: Names such as vit-l.
        image_size: Side in pixels.
        num_tokens: Prompts of each layer (M).
        num_classes: Classes of a task (K).
        tasks: Number of tasks.

    Returns:
        The same, a Markdown table.
    """
    rows = [
        ['', 'M', 'train', 'of full-token', 'of full', 'infer', 'of full-token']
        + ['of bare', 'weights', 'task', f'{tasks:,} tasks', 'of as many models']
    ]
    for name in arch:
        bare = Cost(name, image_size, 1, 0, num_classes)
        for count in num_tokens:
            cost = Cost(name, image_size, 1, count, num_classes)
            weights, task = 2 * cost.weights, 4 * cost.task_parameters
            served = weights + tasks * task
            rows.append(
                [
                    name,
                    str(count),
                    f'{cost.training / 1e9:,.0f} GFLOP',
                    f'{cost.training / cost.full_token("train"):.3f}',
                    f'{cost.training / cost.fine_tuning:.3f}',
                    f'{cost.inference / 1e9:,.0f} GFLOP',
                    f'{cost.inference / cost.full_token("infer"):.3f}',
                    f'{cost.inference / bare.inference:.3f}',
                    f'{weights / 1e9:.2f} GB',
                    f'{task / 1e6:.1f} MB',
                    f'{served / 1e9:.1f} GB',
                    f'{served / (tasks * weights):.4f}',
                ]
            )
    text = markdown(rows)
    print(text)
    return text
