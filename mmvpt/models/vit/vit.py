# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A frozen Vision Transformer with prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from operator import attrgetter
from typing import NamedTuple

import torch
from mmcv.cnn.bricks.drop import DropPath
from mmcv.cnn.bricks.transformer import PatchEmbed
from mmengine.model import BaseModule, ModuleList
from mmengine.model.weight_init import trunc_normal_
from mmpretrain.models.utils import build_norm_layer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmvpt.errors import UserError, one_of
from mmvpt.models import tunable as tuning
from mmvpt.models.precision import (
    FROZEN_DTYPES,
    check_images,
    keep_frozen,
    widen,
)
from mmvpt.registry import ADAPTERS, MODELS
from mmvpt.weights.families import ACTIVATIONS, RESIZING

from .arguments import (
    ARCHITECTURES,
    FINAL_NORMS,
    OUT_TYPES,
    architecture,
    check_image_size,
    check_pooling,
    resolve_indices,
    single_init_cfg,
)
from .assembly import build_prompt, freeze
from .blocks import AttentionPool
from .layer import PromptedEncoderLayer, Reads, run
from .loading import check_state, load_pretrained, resize_positions
from .prefix_cache import PrefixCache
from .rotation import ROTATIONS, rotation
from .serving import StaticPrompts
from .streams import in_float32

#: Operands that every guided layer has beside those of ``layer.OPERANDS``.
_OF_PROMPTS = ('prompt', 'companion')


class Guide(nn.Module):
    """Where guided layers hand their operands to whoever listens with a forward hook.

    ``reads`` names the operands that the listener wants, from ``OPERANDS``, ``prompt``
    or ``companion``; with none the backbone computes none. Nothing is kept here.
    """

    reads: tuple[str, ...] = ()

    def forward(self, layer: int, operands: dict[str, Tensor]) -> None:
        """Do nothing; a forward hook sees ``layer`` and ``operands``."""


class State(NamedTuple):
    """Where a batch is: before a layer, or behind the last one.

    Args:
        layer: Index of the layer that comes next, from 0.
        tokens: CLS, registers and patches, (B, E + N, C), or CLS alone, (B, 1, C).
        grid: Rows and columns of the patches.
        prompt: The prompt module that is asked, None to run the frozen ViT alone.
        reads: What is read of the layer, and how; the fields from here to
            ``temperature`` are those of :meth:`PromptedVisionTransformer.enter`.
        prompts: Prompts that enter the layer, (1 or B, M, C).
        attended: What its attention sees of them, where that is known.
        key_values: Further keys and values, (1 or B, S, 2C).
        temperature: Divides its logits.
        left: What the layer before wrote at its prompts, (B, M, C).
        companion: A second stream, (1 or B, E + N, C).
        constants: What is known of the prompt's refinement behind the layer.
    """

    layer: int
    tokens: Tensor
    grid: tuple[int, int]
    prompt: nn.Module | None = None
    reads: Reads = Reads()
    prompts: Tensor | None = None
    attended: Tensor | None = None
    key_values: Tensor | None = None
    temperature: Tensor | None = None
    left: Tensor | None = None
    companion: Tensor | None = None
    constants: tuple[Tensor, ...] = ()


@MODELS.register_module()
class PromptedVisionTransformer(BaseModule):
    r"""A frozen ViT with prompts; for classification and dense tasks.

    Embedding, then for every layer :math:`i`: prompts :math:`P_i` from the prompt
    module, ``[CLS, registers, prompts, patches]`` through the layer; then pooling or
    feature maps. State keys are mmpretrain's, see ``blocks.py`` for what it has not,
    plus ``prompt.*``. Only prompts and what ``tunable`` names have a gradient, from
    construction on; frozen layers stay in eval mode in training but for drop-path, if
    the config asks for it. With ``prompt=None`` it computes what the family's own ViT
    computes.

    Args:
        arch: ``FAMILY-SIZE``: families ``vit`` (``vit-ti``, ``-s``, ``-b``, ``-l``,
            ``-h``), ``dinov2``, ``dinov2-reg``, ``dinov3``, ``siglip``, ``eva02``,
            ``eva02-clip`` and ``pe-core``, see docs/backbones.md; a name of
            mmpretrain's zoo (whose ``small`` is 768 wide); or a dict with
            ``embed_dims``, ``num_layers``, ``num_heads``, ``feedforward_channels`` and
            perhaps ``family``. It settles every argument below that is None.
        img_size: Training image size in pixels, a multiple of the patch size. Other
            sizes run too: positions are resized as the family does, and images are
            padded at the bottom and right to whole patches.
        patch_size: Side of a patch in pixels.
        out_indices: Layers whose output is returned, ascending; negative counts from
            the end. Layers behind the last one do not run.
        out_type: ``cls_token`` one vector for each image, as ``pooling`` says, (B, C);
            ``featmap`` (B, C, H, W), prompts, CLS and registers stripped;
            ``avg_featmap`` (B, C) as mmpretrain; ``raw`` (B, E + M + N, C), prompts
            after CLS and registers.
        prompt: Config of a prompt (registry ``PROMPTS``), or None.
        tunable: What trains besides prompts: a preset (``none``, ``bias``, ``norm``,
            ``cls``, ``registers``, ``partial-k``, ``full``), a pattern of parameter
            names, or a list; see :func:`mmvpt.models.tunable.tune`.
        adapter: Config of a baseline that changes frozen modules (registry
            ``ADAPTERS``: ``LoRA``, ``AdapterPlus``, ``SSF``), or None.
        pooling: What ``out_type='cls_token'`` returns: ``cls``; ``map``, the family's
            attention pool; or the mean over ``patches``, ``prompts`` or
            ``prompts_and_patches`` as the last layer wrote them.
        norm_before_pool: Whether the final norm comes before the mean or after it.
        final_norm: True or ``pretrained``: the checkpoint's, frozen; ``fresh-frozen``:
            weight 1, bias 0 (for MAE); ``fresh-trained``: the same, tuned; False: none.
        drop_rate: Dropout behind positions and linear layers, where they train.
        drop_path_rate: Stochastic depth of the last layer, growing linearly from 0;
            active in frozen layers too.
        with_cp: Recompute activations of each layer in backward to save memory: True
            all of them, ``mlp`` those of the MLP, the cheaper third.
        in_channels: Channels of the images.
        qkv_bias: Whether query, key and value have biases.
        act: Kind of MLP: ``gelu``, ``gelu_tanh``, ``quick_gelu``, ``swiglu``, or
            ``swiglu_norm`` with a norm inside.
        norm_cfg: Config of all norms.
        layer_scale_init_value: First value of the scales of both branches, 0 for none.
        pre_norm: Whether a norm stands before the layers; then the patch embedding has
            no bias (CLIP).
        with_cls_token: Whether there is a class token.
        num_registers: Register tokens (R).
        interpolate_mode: How positions are resized: ``bicubic`` or ``bilinear``, also
            with ``-antialias``.
        rope_dtype: Precision of the frequencies of rotary positions: ``float64``, or
            ``bfloat16`` as DINOv3 was released.
        patch_cfg: Further arguments of mmcv's ``PatchEmbed``.
        layer_cfgs: Further arguments of :class:`PromptedEncoderLayer`, such as
            ``attn_drop_rate``; a dict, or one for each layer.
        frozen_dtype: What frozen weights, and all that is computed from them, are kept
            in: None for float32, ``bfloat16``, or on a GPU ``float16``. Prompts and
            what trains stay in float32, and so do the outputs.
        frozen_stages: Not an option here, see ``tunable``.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` loads a file,
            ``mmvpt://NAME`` or ``timm://NAME`` strictly: what is missing or of another
            shape is an error. ``prefix`` stands before the names; ``normalization``
            states that images are not normalised as in pretraining.

    Raises:
        ValueError: For a value that is not allowed, a tunable pattern that matches
            nothing, or prompts behind the last layer that runs.
    """

    #: Reads what enters a later layer instead of computing it; see PrefixCacheHook.
    prefix_cache: PrefixCache | None = None
    #: Numbers of every named architecture.
    arch_zoo = {name: found.numbers for name, found in ARCHITECTURES.items()}
    OUT_TYPES = set(OUT_TYPES)

    def __init__(
        self,
        arch: str | dict = 'vit-b',
        img_size: int | tuple[int, int] = 224,
        patch_size: int | None = None,
        out_indices: int | Sequence[int] = -1,
        out_type: str = 'cls_token',
        prompt: dict | None = None,
        tunable: str | Sequence[str] = 'none',
        adapter: dict | None = None,
        pooling: str | None = None,
        norm_before_pool: bool = True,
        final_norm: bool | str = True,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        with_cp: bool | str = False,
        in_channels: int = 3,
        qkv_bias: bool | None = None,
        act: str | None = None,
        norm_cfg: dict | None = None,
        layer_scale_init_value: float | None = None,
        pre_norm: bool | None = None,
        with_cls_token: bool | None = None,
        num_registers: int | None = None,
        interpolate_mode: str | None = None,
        rope_dtype: str = 'float64',
        patch_cfg: dict | None = None,
        layer_cfgs: dict | Sequence[dict] | None = None,
        frozen_dtype: str | None = None,
        frozen_stages: None = None,
        init_cfg: dict | None = None,
    ) -> None:
        found = architecture(arch)
        family = found.family

        def settle(given, settled):
            return settled if given is None else given

        patch_size = settle(patch_size, found.patch_size)
        act = settle(act, found.act)
        norm_cfg = settle(norm_cfg, dict(type='LN', eps=family.norm_eps))
        scale = settle(layer_scale_init_value, 1e-5 if family.layer_scale else 0.0)
        with_cls_token = settle(with_cls_token, family.with_cls_token)
        pre_norm = settle(pre_norm, family.pre_norm)
        num_registers = settle(num_registers, family.num_registers)
        mode = settle(interpolate_mode, family.positions or 'bicubic')
        one_of('out_type', out_type, OUT_TYPES)
        one_of('final_norm', final_norm, FINAL_NORMS)
        one_of('with_cp', with_cp, (True, False, 'mlp'))
        one_of('act', act, ACTIVATIONS)
        one_of('interpolate_mode', mode, RESIZING)
        one_of('rope_dtype', rope_dtype, ('float64', 'bfloat16'))
        one_of('frozen_dtype', frozen_dtype, (None, *FROZEN_DTYPES))
        check_image_size(img_size, patch_size)
        if frozen_stages is not None:
            raise UserError(
                'frozen_stages is not an option here: everything is frozen but prompts '
                "and what `tunable` names. Use tunable='partial-k' or 'full'."
            )
        super().__init__(single_init_cfg(init_cfg))
        self.family, self.arch_settings = found.name, found.numbers
        self.embed_dims, self.num_layers, heads, channels = found.numbers.values()
        self.img_size = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.out_type = out_type
        self.out_indices = resolve_indices(out_indices, self.num_layers)
        self.pooling = check_pooling(pooling, out_type, family, with_cls_token)
        self.norm_before_pool = norm_before_pool
        self.final_norm = bool(final_norm)
        self.final_norm_source = 'pretrained' if final_norm is True else final_norm
        self.with_cp = with_cp if with_cp == 'mlp' else bool(with_cp)
        self.act, self.rope_dtype, self.interpolate_mode = act, rope_dtype, mode
        self.rotary = ROTATIONS[family.rotation] if family.rotation else None

        self.with_cls_token = with_cls_token
        #: Rows before the patches (E).
        self.num_extra_tokens = with_cls_token + num_registers
        patch = dict(
            in_channels=in_channels,
            input_size=img_size,
            embed_dims=self.embed_dims,
            conv_type='Conv2d',
            kernel_size=patch_size,
            stride=patch_size,
            bias=not pre_norm,
        )
        self.patch_embed = PatchEmbed(**{**patch, **(patch_cfg or {})})
        self.patch_resolution = self.patch_embed.init_out_size
        rows, columns = self.patch_resolution

        def parameter(count: int) -> nn.Parameter | None:
            return (
                nn.Parameter(torch.zeros(1, count, self.embed_dims)) if count else None
            )

        self.cls_token = parameter(int(with_cls_token))
        self.reg_tokens = parameter(num_registers)
        count = rows * columns + with_cls_token if family.positions else 0
        self.pos_embed = parameter(count)
        self.drop_after_pos = nn.Dropout(drop_rate)
        self.pre_norm = nn.Identity()
        if pre_norm:
            self.pre_norm = build_norm_layer(norm_cfg, self.embed_dims)
        common = dict(
            embed_dims=self.embed_dims,
            num_heads=heads,
            feedforward_channels=channels,
            act=act,
            norm_cfg=norm_cfg,
            qkv_bias=settle(qkv_bias, found.qkv_bias),
            inner_norm=family.inner_norm,
            rotates=self.rotary is not None,
            layer_scale_init_value=scale,
            drop_rate=drop_rate,
        )
        if layer_cfgs is None or isinstance(layer_cfgs, dict):
            layer_cfgs = [layer_cfgs or {}] * self.num_layers
        self.layers = ModuleList(
            PromptedEncoderLayer(
                **{**common, 'drop_path_rate': drop_path_rate * share, **own}
            )
            for share, own in zip(_shares(self.num_layers), layer_cfgs)
        )
        if self.final_norm:
            self.ln1 = build_norm_layer(norm_cfg, self.embed_dims)
        if out_type == 'avg_featmap':
            self.ln2 = build_norm_layer(norm_cfg, self.embed_dims)
        if out_type == 'cls_token' and self.pooling == 'map':
            heads = family.pool_heads or heads
            self.pool = AttentionPool(self.embed_dims, heads, channels, act, norm_cfg)

        freeze(self, tunable)
        if adapter is not None:
            ADAPTERS.build(dict(adapter, _scope_='mmvpt')).attach(self)
        self.frozen_dtype, self._kept = frozen_dtype, ''
        if frozen_dtype is not None:
            self._kept = keep_frozen(self, FROZEN_DTYPES[frozen_dtype])
        self.prompt = build_prompt(self, prompt, patch_size)
        self.static_prompts = StaticPrompts()
        self.guide = Guide()
        self._register_load_state_dict_pre_hook(check_state, with_module=True)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return one output for each of ``out_indices``; shapes as ``out_type`` says.

        Args:
            inputs: Normalised images, (B, in_channels, height, width).

        Returns:
            The outputs; behind them the queries of the prompt, if it has some.
        """
        cache = self.prefix_cache
        tokens, grid = self.embed(inputs) if cache is None else cache(self, inputs)
        first = 0 if cache is None else cache.num_layers
        outs = []
        for state in self.walk(self.start(tokens, grid, first)):
            if state.layer - 1 in self.out_indices:
                outs.append(self.format(state))
        queries = None if self.prompt is None else self.prompt.queries()
        return (*outs, *_present(queries))

    def embed(self, inputs: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Turn images into CLS, register and patch tokens, (B, E + N, C).

        Returns:
            The tokens and the rows and columns of patches.

        Raises:
            UserError: If the input is no batch of images with ``in_channels`` channels.
        """
        channels = self.patch_embed.projection.in_channels
        if inputs.dim() != 4 or inputs.shape[1] != channels:
            raise UserError(
                f'expected images (B, {channels}, height, width), got '
                f'{tuple(inputs.shape)}. Convert them in the data preprocessor or set '
                'in_channels.'
            )
        inputs = self.entering(inputs)
        x, grid = self.patch_embed(inputs)
        if self.cls_token is not None:
            x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        if self.pos_embed is not None:
            x = x + self.positions(grid)
        x = self.drop_after_pos(x)
        if self.reg_tokens is not None:
            cls, patches = x.tensor_split([int(self.with_cls_token)], dim=1)
            x = torch.cat(
                (cls, self.reg_tokens.expand(x.shape[0], -1, -1), patches), dim=1
            )
        x = self.rounded(x, inputs)  # wider where tokens of it train
        return self.pre_norm(x), tuple(grid)

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Return the positions of CLS and patches for a grid, (1, 1 + N, C)."""
        extra = int(self.with_cls_token)
        return resize_positions(
            self.pos_embed, self.patch_resolution, grid, self.interpolate_mode, extra
        )

    def start(
        self,
        tokens: Tensor,
        grid: tuple[int, int],
        layer: int = 0,
        prompted: bool = True,
    ) -> State:
        """Return the state before a layer.

        Args:
            tokens: What enters it, (B, E + N, C), from :meth:`embed`.
            grid: Rows and columns of the patches.
            layer: Its index.
            prompted: Whether the prompt takes part, if there is one.
        """
        rotary, rope = self.rotary, None
        if rotary is not None:
            rope = rotation(
                rotary,
                grid,
                self.num_extra_tokens,
                self.embed_dims // self.arch_settings['num_heads'],
                tokens,
                torch.bfloat16 if self.rope_dtype == 'bfloat16' else None,
            )
        reads = Reads(num_extra=self.num_extra_tokens, grid=grid, rotation=rope)
        prompt = self.prompt if prompted else None
        companion = None
        if prompt is not None and prompt.companion:
            companion = prompt.start(self.wide(self.places(tokens, grid)), grid)
            companion = self.rounded(companion, tokens)
        return State(layer, tokens, grid, prompt, reads, companion=companion)

    def walk(self, state: State, last: int | None = None) -> Iterator[State]:
        """Run layers: yield the state before each, and behind the last one.

        Every way through the layers is this one; who needs no more stops reading.

        Args:
            state: Where to begin, from :meth:`start`.
            last: Index of the last layer that runs; by default that of
                ``out_indices``.
        """
        last = self.out_indices[-1] if last is None else last
        while state.layer <= last:
            state = self.enter(state)
            yield state
            state = self.run_layer(state)
        yield state

    def enter(self, state: State) -> State:
        """Ask the prompt what enters the next layer, and note what is read of it.

        What attention sees of static prompts, these themselves and the constants of a
        refinement are computed once in evaluation without gradients.
        """
        i, prompt = state.layer, state.prompt
        reads = state.reads._replace(
            cls_only=self.reads_cls_only(i), recompute_mlp=self.with_cp == 'mlp'
        )
        if prompt is None:
            return state._replace(reads=reads, prompts=None, attended=None)
        reads = reads._replace(
            mask=prompt.mask, position=prompt.position, guide=self._guided_reads(i)
        )
        if prompt.companion:
            read = i < self.out_indices[-1] or self._reads_companion
            accompany = partial(prompt.accompany, i)
            if self.frozen_dtype is not None:
                accompany = partial(in_float32, accompany)
            reads = reads._replace(accompany=accompany, companion_read=read)
        key_values = self.rounded(prompt.extra_key_values(i), state.tokens)
        patches = state.tokens[:, self.num_extra_tokens :]

        def ask() -> Tensor | None:
            entered, left = self.wide(state.prompts), self.wide(state.left)
            found = prompt(
                i, self.wide(patches), state.grid, entered=entered, left=left
            )
            return self.rounded(found, state.tokens)

        if self.is_static(i):
            prompts, attended = self.static_prompts.enter(
                i, prompt, self.layers[i], reads, key_values, ask
            )
        else:
            prompts, attended = ask(), None
        refined = prompt.refines and not reads.cls_only
        return state._replace(
            reads=reads._replace(
                keep_prompts=prompts is not None and self.keeps_prompts(i)
            ),
            prompts=prompts,
            attended=attended,
            key_values=key_values,
            temperature=prompt.temperature(i),
            constants=self.static_prompts.constants(i, prompt) if refined else (),
        )

    def run_layer(self, state: State) -> State:
        """Run the layer that :meth:`enter` prepared, for the rows that are read."""
        if self.with_cp is True and torch.is_grad_enabled():
            found = checkpoint(self._run_layer, state, use_reentrant=False)
        else:
            found = self._run_layer(state)
        tokens, left, *operands = found if isinstance(found, tuple) else (found, None)
        i, reads = state.layer, state.reads
        after = state._replace(
            layer=i + 1, tokens=tokens, attended=None, key_values=None, left=left
        )
        if reads.accompany is not None:
            after = after._replace(companion=left, left=None)
        self._hand_over(i, state, after, operands)
        return after

    def _run_layer(self, state: State) -> Tensor | tuple[Tensor | None, ...]:
        i, reads, prompt = state.layer, state.reads, state.prompt
        found = run(
            self.layers[i],
            state.tokens,
            state.prompts,
            state.attended,
            state.key_values,
            state.temperature,
            None,
            state.companion,
            reads,
        )
        if prompt is None or not prompt.refines or reads.cls_only:
            return found
        tokens, *rest = found if isinstance(found, tuple) else (found,)
        extra, patches = tokens.tensor_split([self.num_extra_tokens], dim=1)
        refined = prompt.refine(i, self.wide(patches), *state.constants)
        tokens = torch.cat([extra, self.rounded(refined, patches)], dim=1)
        return (tokens, *rest) if rest else tokens

    def _hand_over(
        self, i: int, before: State, after: State, operands: list[Tensor]
    ) -> None:
        """Give the operands of a guided layer to whoever listens."""
        named = dict(zip(before.reads.guide, operands))
        prompt = before.prompt
        if prompt is None or not self.training:
            return
        if 'prompt' in self.guide.reads and i in prompt.guided_layers:
            named['prompt'] = prompt.proxies(i)
        if self._reads_companion and i == self.out_indices[-1]:
            if after.companion is not None:
                norm = self.final_norm_after(i)
                named['companion'] = norm(after.companion)[:, 0]
        if named:
            self.guide(i, {name: self.wide(x) for name, x in named.items()})

    def format(self, state: State) -> Tensor:
        """Pool or shape what the layer before ``state`` wrote, as ``out_type`` says.

        In float32, whatever frozen weights are kept in.

        Raises:
            UserError: If prompts are to be pooled and there are none.
        """
        return self.wide(self._format(state))

    def _format(self, state: State) -> Tensor:
        norm = self.final_norm_after(state.layer - 1)
        extra, patches = state.tokens.tensor_split([self.num_extra_tokens], dim=1)
        prompts = _present(state.left)
        if self.out_type == 'featmap':
            return norm(patches).mT.unflatten(2, state.grid)
        if self.out_type == 'avg_featmap':
            return self.ln2(norm(patches).mean(dim=1))
        if self.out_type == 'raw':
            return norm(torch.cat([extra, *prompts, patches], dim=1))
        if self.pooling == 'cls':
            return norm(extra[:, 0])
        if self.pooling == 'map':
            if self.with_cls_token:
                patches = torch.cat([extra[:, :1], patches], dim=1)
            return self.pool(norm(patches))
        rows = {
            'patches': [patches],
            'prompts': prompts,
            'prompts_and_patches': [*prompts, patches],
        }[self.pooling]
        if not rows:
            raise UserError(
                "pooling='prompts' needs prompts in the last layer, where "
                f'{type(state.prompt).__name__} has none.'
            )
        x = torch.cat(rows, dim=1) if len(rows) > 1 else rows[0]
        return norm(x).mean(dim=1) if self.norm_before_pool else norm(x.mean(dim=1))

    def train(self, mode: bool = True) -> PromptedVisionTransformer:
        """Set the mode; frozen parts stay in eval mode but for drop-path."""
        super().train(mode)
        self._forget()
        if mode:
            for module in (self.patch_embed, self.pre_norm, *self.layers):
                if tuning.is_frozen(module):
                    module.eval()
                    for child in module.modules():
                        child.training = isinstance(child, DropPath)
            if self.pos_embed is None or not self.pos_embed.requires_grad:
                self.drop_after_pos.eval()
        return self

    def _apply(self, *args, **kwargs) -> PromptedVisionTransformer:
        """Move or convert tensors; what was computed from them is void."""
        self._forget()
        return super()._apply(*args, **kwargs)

    def _forget(self) -> None:
        self.static_prompts.clear()
        if self.prefix_cache is not None:
            self.prefix_cache.forget(self)

    def init_weights(self) -> None:
        """Initialise; with ``init_cfg`` of type ``Pretrained`` load, strictly."""
        if self.init_cfg is not None and self.init_cfg['type'] == 'Pretrained':
            if not self._is_init:
                load_pretrained(self, **self.init_cfg)
                self._is_init = True
            return
        super().init_weights()
        if self.pos_embed is not None:
            trunc_normal_(self.pos_embed, std=0.02)

    @property
    def stored_dtype(self) -> torch.dtype | None:
        """What frozen weights are in now, if ``frozen_dtype`` was set.

        Another one after ``float()`` or ``double()``, which computes in it.
        """
        return attrgetter(self._kept)(self).dtype if self._kept else None

    def entering(self, x: Tensor) -> Tensor:
        """Return what enters the frozen weights, in their dtype.

        Raises:
            UserError: See :func:`mmvpt.models.precision.check_images`.
        """
        dtype = self.stored_dtype
        if dtype is None:
            return x
        check_images(x, dtype, self.training and torch.is_grad_enabled())
        return x.to(dtype)

    def wide(self, x: Tensor | None) -> Tensor | None:
        """Return what prompts, heads and losses are given of the stream."""
        return x if x is None or self.frozen_dtype is None else widen(x)

    def rounded(self, x: Tensor | None, tokens: Tensor) -> Tensor | None:
        """Return what enters the stream that ``tokens`` are of."""
        return x if x is None or self.frozen_dtype is None else x.to(tokens.dtype)

    @property
    def _pools_prompts(self) -> bool:
        """Whether an output reads the rows at the prompts."""
        if self.out_type == 'raw':
            return True
        return self.out_type == 'cls_token' and self.pooling.startswith('prompts')

    @property
    def _reads_companion(self) -> bool:
        return self.training and 'companion' in self.guide.reads

    def reads_cls_only(self, i: int) -> bool:
        """Whether CLS alone is read of what layer ``i`` writes at CLS and patches."""
        pools_cls = self.out_type == 'cls_token' and self.pooling == 'cls'
        return pools_cls and i == self.out_indices[-1]

    def keeps_prompts(self, i: int) -> bool:
        """Whether what layer ``i`` writes at its prompts is read."""
        if self.prompt.position != 'sequence':
            return False
        if self._pools_prompts and i in self.out_indices:
            return True
        return self.prompt.keeps_outputs and i < self.out_indices[-1]

    def is_static(self, i: int) -> bool:
        """Whether what attention sees of prompts of layer ``i`` may be known."""
        prompt = self.prompt
        sequence = prompt is not None and prompt.position == 'sequence'
        return sequence and prompt.is_static(i) and not self.keeps_prompts(i)

    def final_norm_after(self, i: int) -> nn.Module:
        """Return the final norm, which follows the very last layer only."""
        if self.final_norm and i == self.num_layers - 1:
            return self.ln1
        return nn.Identity()

    def _guided_reads(self, i: int) -> tuple[str, ...]:
        """Return the operands that layer ``i`` is to compute."""
        if not self.training or i not in self.prompt.guided_layers:
            return ()
        reads = tuple(name for name in self.guide.reads if name not in _OF_PROMPTS)
        if not self.with_cls_token:
            of_cls = [name for name in reads if name.startswith('cls')]
            if of_cls:
                raise UserError(
                    f'{of_cls[0]!r} is read of the class token, and {self.family} has '
                    'none here; read patch operands, or use a backbone with CLS.'
                )
        return reads

    def places(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return what is added at each row for its place, (1, E + N, C).

        Registers themselves at registers, zero where there are no positions.
        """
        cls = int(self.with_cls_token)
        if self.pos_embed is None:
            at = tokens.new_zeros(1, cls + grid[0] * grid[1], self.embed_dims)
        else:
            at = self.positions(grid)
        extra, patches = at.tensor_split([cls], dim=1)
        return torch.cat([extra, *_present(self.reg_tokens), patches], dim=1)


def _shares(count: int) -> list[float]:
    """Return ``count`` numbers from 0 to 1 in equal steps."""
    return [i / max(1, count - 1) for i in range(count)]


def _present(tensor: Tensor | None) -> list[Tensor]:
    return [] if tensor is None else [tensor]
