# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A frozen Vision Transformer with prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn.bricks.drop import DropPath
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.models.utils import resize_pos_embed
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmvpt.models import tunable as tuning
from mmvpt.registry import ADAPTERS, MODELS

from .arguments import (
    FINAL_NORMS,
    arch_settings,
    check_choice,
    check_image_size,
    check_pooling,
    resolve_indices,
    single_init_cfg,
)
from .assembly import build_prompt, freeze
from .layer import meets_tokens, prompted_layer
from .loading import check_square, check_state, load_pretrained
from .prefix_cache import PrefixCache
from .static_prompts import StaticPrompts


class Guide(nn.Module):
    """Where guided layers hand their operands to whoever listens with a forward hook.

    ``reads`` names the operands that the listener wants, from ``OPERANDS`` or
    ``prompt``; with none the backbone computes none. Nothing is kept here.
    """

    reads: tuple[str, ...] = ()

    def forward(self, layer: int, operands: dict[str, Tensor]) -> None:
        """Do nothing; a forward hook sees ``layer`` and ``operands``."""


@MODELS.register_module()
class PromptedVisionTransformer(VisionTransformer):
    r"""mmpretrain's ViT, frozen, with prompts; for classification and dense tasks.

    Embedding, then for every layer :math:`i`: prompts :math:`P_i` from the prompt
    module, ``[CLS, prompts, patches]`` through the layer; then pooling or feature maps.
    State keys are mmpretrain's, plus ``prompt.*``. Only prompts and what ``tunable``
    names have a gradient, from construction on; frozen layers stay in eval mode in
    training but for drop-path, if the config asks for it. With ``prompt=None`` it
    computes what mmpretrain's ``VisionTransformer`` computes.

    Args:
        arch: ``vit-ti``, ``vit-s``, ``vit-b``, ``vit-l``, ``vit-h``, a name of
            mmpretrain's zoo (whose ``small`` is 768 wide), or a dict with
            ``embed_dims``, ``num_layers``, ``num_heads``, ``feedforward_channels``.
        img_size: Training image size in pixels, a multiple of the patch size. Other
            sizes run too: the position embedding is resized and images are padded at
            the bottom and right to whole patches.
        patch_size: Side of a patch in pixels.
        out_indices: Layers whose output is returned, ascending; negative counts from
            the end. Layers behind the last one do not run.
        out_type: ``cls_token`` one vector for each image, as ``pooling`` says, (B, C);
            ``featmap`` (B, C, H, W), prompts and CLS stripped; ``avg_featmap`` (B, C)
            as mmpretrain; ``raw`` (B, 1 + M + N, C), prompts after CLS.
        prompt: Config of a prompt (registry ``PROMPTS``), or None.
        tunable: What trains besides prompts: a preset (``none``, ``bias``, ``norm``,
            ``cls``, ``partial-k``, ``full``), a pattern of parameter names, or a list;
            see :func:`mmvpt.models.tunable.tune`.
        adapter: Config of a baseline that changes frozen modules (registry
            ``ADAPTERS``: ``LoRA``, ``AdapterPlus``, ``SSF``), or None.
        pooling: What ``out_type='cls_token'`` returns: ``cls`` (default), or the mean
            over ``patches``, ``prompts`` or ``prompts_and_patches`` as the last layer
            wrote them.
        norm_before_pool: Whether the final norm comes before the mean or after it.
        final_norm: True or ``pretrained``: the checkpoint's, frozen; ``fresh-frozen``:
            weight 1, bias 0 (for MAE); ``fresh-trained``: the same, tuned; False: none.
        drop_path_rate: Stochastic depth of the last layer, growing linearly from 0;
            active in frozen layers too.
        with_cp: Recompute activations of each layer in backward to save memory: True
            all of them, ``mlp`` those of the MLP, the cheaper third.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` loads a file,
            ``mmvpt://NAME`` or ``timm://NAME`` strictly: what is missing or of another
            shape is an error. ``prefix`` stands before the names; ``normalization``
            states that images are not normalised as in pretraining.
        **kwargs: Further arguments of mmpretrain's ``VisionTransformer``
            (``in_channels``, ``drop_rate``, ``qkv_bias``, ``norm_cfg``,
            ``with_cls_token``, ``interpolate_mode``, ``layer_scale_init_value``,
            ``patch_cfg``, ``layer_cfgs``, ``pre_norm``).

    Raises:
        ValueError: For a value that is not allowed, a tunable pattern that matches
            nothing, or prompts behind the last layer that runs.
    """

    #: Reads what enters a later layer instead of computing it; see PrefixCacheHook.
    prefix_cache: PrefixCache | None = None

    arch_zoo = {
        **VisionTransformer.arch_zoo,
        **{
            f'vit-{name}': dict(
                embed_dims=dims,
                num_layers=layers,
                num_heads=dims // head_dims,
                feedforward_channels=4 * dims,
            )
            for name, dims, layers, head_dims in (
                *(('ti', 192, 12, 64), ('s', 384, 12, 64), ('b', 768, 12, 64)),
                *(('l', 1024, 24, 64), ('h', 1280, 32, 80)),
            )
        },
    }

    def __init__(
        self,
        arch: str | dict = 'vit-b',
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        out_indices: int | Sequence[int] = -1,
        out_type: str = 'cls_token',
        prompt: dict | None = None,
        tunable: str | Sequence[str] = 'none',
        adapter: dict | None = None,
        pooling: str | None = None,
        norm_before_pool: bool = True,
        final_norm: bool | str = True,
        drop_path_rate: float = 0.0,
        with_cp: bool | str = False,
        init_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        settings = arch_settings(arch, self.arch_zoo)
        check_choice('out_type', out_type, sorted(self.OUT_TYPES))
        check_choice('final_norm', final_norm, FINAL_NORMS)
        check_choice('with_cp', with_cp, (True, False, 'mlp'))
        check_pooling(pooling, out_type)
        check_image_size(img_size, patch_size)
        if 'frozen_stages' in kwargs:
            raise ValueError(
                'frozen_stages is not an option here: everything is frozen but prompts '
                "and what `tunable` names. Use tunable='partial-k' or 'full'."
            )
        super().__init__(
            arch=settings,
            img_size=img_size,
            patch_size=patch_size,
            out_indices=resolve_indices(out_indices, settings['num_layers']),
            out_type=out_type,
            final_norm=bool(final_norm),
            drop_path_rate=drop_path_rate,
            init_cfg=single_init_cfg(init_cfg),
            **kwargs,
        )
        self.pooling = pooling or 'cls'
        self.norm_before_pool = norm_before_pool
        self.final_norm_source = 'pretrained' if final_norm is True else final_norm
        self.with_cp = with_cp if with_cp == 'mlp' else bool(with_cp)
        for module in self.modules():
            if isinstance(module, DropPath):  # a numpy float breaks torch.compile
                module.drop_prob = float(module.drop_prob)

        freeze(self, tunable)
        if adapter is not None:
            ADAPTERS.build(dict(adapter, _scope_='mmvpt')).attach(self)
        self.prompt = build_prompt(self, prompt, patch_size)
        self.static_prompts = StaticPrompts()
        self.guide = Guide()
        self._register_load_state_dict_pre_hook(check_state, with_module=True)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return one output for each of ``out_indices``; shapes as ``out_type`` says.

        Args:
            inputs: Normalised images, (B, in_channels, height, width).
        """
        cache = self.prefix_cache
        first = 0 if cache is None else cache.num_layers
        tokens, grid = self.embed(inputs) if cache is None else cache(self, inputs)
        outs = []
        prompts = left = None
        for i in range(first, self.out_indices[-1] + 1):
            patches = tokens[:, self.num_extra_tokens :]
            prompts, attended = self.enter(i, patches, grid, prompts, left)
            tokens, left = self.run_layer(i, tokens, prompts, attended)
            if i in self.out_indices:
                norm = self.final_norm_after(i)
                outs.append(self.format(tokens, left, grid, norm))
        return tuple(outs)

    def embed(self, inputs: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Turn images into CLS and patch tokens with positions, (B, 1 + N, C).

        Returns:
            The tokens and the rows and columns of patches.

        Raises:
            ValueError: If the input is no batch of images with ``in_channels``
                channels.
        """
        channels = self.patch_embed.projection.in_channels
        if inputs.dim() != 4 or inputs.shape[1] != channels:
            raise ValueError(
                f'expected images (B, {channels}, height, width), got '
                f'{tuple(inputs.shape)}. Convert them in the data preprocessor or set '
                'in_channels.'
            )
        x, grid = self.patch_embed(inputs)
        if self.cls_token is not None:
            x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = x + resize_pos_embed(
            self.pos_embed,
            self.patch_resolution,
            grid,
            mode=self.interpolate_mode,
            num_extra_tokens=self.num_extra_tokens,
        )
        return self.pre_norm(self.drop_after_pos(x)), tuple(grid)

    def enter(
        self,
        i: int,
        patches: Tensor,
        grid: tuple[int, int],
        entered: Tensor | None = None,
        left: Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the prompts of layer ``i``, and what attention sees of static ones.

        The latter, and static prompts themselves, are computed once in evaluation
        without gradients. Arguments as of :meth:`BasePrompt.forward`.
        """
        prompt = self.prompt
        if prompt is None:
            return None, None

        def prompts() -> Tensor | None:
            return prompt(i, patches, grid, entered=entered, left=left)

        if self.keeps_prompts(i) or not prompt.is_static(i):
            return prompts(), None
        layer = self.layers[i]
        once = meets_tokens(layer.attn, self.reads_cls_only(i), self._guided_reads(i))
        return self.static_prompts.enter(i, prompt, layer, once, prompts)

    def run_layer(
        self,
        i: int,
        tokens: Tensor,
        prompts: Tensor | None,
        attended: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Run layer ``i`` for the rows that are read afterwards.

        Args:
            i: Index of the layer.
            tokens: CLS and patches, (B, 1 + N, C).
            prompts: Prompts, (1, M, C) or (B, M, C), or None.
            attended: What attention sees of them, if :meth:`enter` knows it.

        Returns:
            What the layer wrote at CLS and patches, or at CLS alone, and at the
            prompts, if that is read.
        """
        guide = self._guided_reads(i)
        options = dict(
            num_extra=self.num_extra_tokens,
            cls_only=self.reads_cls_only(i),
            keep_prompts=prompts is not None and self.keeps_prompts(i),
            mask=self.prompt is not None and self.prompt.mask,
            temperature=None if self.prompt is None else self.prompt.temperature(i),
            guide=tuple(name for name in guide if name != 'prompt'),
            recompute_mlp=self.with_cp == 'mlp',
        )
        arguments = (self.layers[i], tokens, prompts, attended)
        if self.with_cp is True and torch.is_grad_enabled():
            tokens, left, operands = checkpoint(
                prompted_layer, *arguments, use_reentrant=False, **options
            )
        else:
            tokens, left, operands = prompted_layer(*arguments, **options)
        if guide:
            if 'prompt' in guide:
                operands['prompt'] = self.prompt.proxies(i)
            self.guide(i, operands)
        return tokens, left

    def format(
        self,
        tokens: Tensor,
        prompts: Tensor | None,
        grid: tuple[int, int],
        norm: nn.Module,
    ) -> Tensor:
        """Pool or shape what a layer wrote, as ``out_type`` says.

        Args:
            tokens: CLS and patches, (B, 1 + N, C), or CLS alone, (B, 1, C).
            prompts: Rows at the prompts, (B, M, C), or None.
            grid: Rows and columns of the patches.
            norm: The norm that applies here.

        Raises:
            ValueError: If prompts are to be pooled and there are none.
        """
        extra = tokens[:, : self.num_extra_tokens]
        patches = tokens[:, self.num_extra_tokens :]
        if self.out_type == 'featmap':
            return norm(patches).mT.unflatten(2, grid)
        if self.out_type == 'avg_featmap':
            return self.ln2(norm(patches).mean(dim=1))
        if self.out_type == 'raw':
            return norm(torch.cat([extra, *_present(prompts), patches], dim=1))
        if self.pooling == 'cls':
            return norm(extra[:, 0])
        rows = {
            'patches': [patches],
            'prompts': _present(prompts),
            'prompts_and_patches': [*_present(prompts), patches],
        }[self.pooling]
        if not rows:
            raise ValueError("pooling='prompts' needs prompts in the last layer.")
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
            if not self.pos_embed.requires_grad:
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
        if self.init_cfg is None or self.init_cfg['type'] != 'Pretrained':
            super().init_weights()
        elif not self._is_init:
            load_pretrained(self, **self.init_cfg)
            self._is_init = True

    def _prepare_pos_embed(self, state_dict, prefix, *args, **kwargs) -> None:
        """Resize a loaded position embedding, which must be of a square grid."""
        loaded = state_dict.get(f'{prefix}pos_embed')
        if loaded is not None and loaded.shape != self.pos_embed.shape:
            check_square(loaded, self.num_extra_tokens)
        super()._prepare_pos_embed(state_dict, prefix, *args, **kwargs)

    @property
    def _pools_prompts(self) -> bool:
        """Whether an output reads the rows at the prompts."""
        if self.out_type == 'raw':
            return True
        return self.out_type == 'cls_token' and self.pooling.startswith('prompts')

    def reads_cls_only(self, i: int) -> bool:
        """Whether CLS alone is read of what layer ``i`` writes at CLS and patches."""
        pools_cls = self.out_type == 'cls_token' and self.pooling == 'cls'
        return pools_cls and i == self.out_indices[-1]

    def keeps_prompts(self, i: int) -> bool:
        """Whether what layer ``i`` writes at its prompts is read."""
        if self._pools_prompts and i in self.out_indices:
            return True
        return self.prompt.keeps_outputs and i < self.out_indices[-1]

    def _guided_reads(self, i: int) -> tuple[str, ...]:
        guided = self.prompt is not None and i in self.prompt.guided_layers
        return self.guide.reads if self.training and guided else ()

    def final_norm_after(self, i: int) -> nn.Module:
        """Return mmpretrain's final norm, which follows the very last layer only."""
        if self.final_norm and i == self.num_layers - 1:
            return self.ln1
        return nn.Identity()


def _present(prompts: Tensor | None) -> list[Tensor]:
    return [] if prompts is None else [prompts]
