# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What is measured: each prompt method and what it is compared with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmpretrain.models.backbones import VisionTransformer
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmvpt.engine.hooks import MetricGuidanceHook
from mmvpt.models.vit import PromptedVisionTransformer, attention

from .full_token import FullTokenViT

#: Prompt methods: type of the prompt and its arguments but for counts and dropout.
METHODS: dict[str, dict] = {
    'vpt-deep': dict(type='DeepPrompt'),
    'vpt-shallow': dict(type='ShallowPrompt'),
    'gated': dict(type='GatedPrompt'),
    'vapt': dict(type='AdaptivePrompt'),
    'da-vpt': dict(type='DistributionAwarePrompt', mapping='balanced'),
    'da-vpt-guided': dict(type='DistributionAwarePrompt', mapping='balanced'),
    # the gradient of a token mask is rounding noise: the norm removes a row's scale
    'e2vpt': dict(type='KeyValuePrompt', num_key_values=5, token_mask=False),
    'cvpt': dict(type='CrossPrompt'),
    'rein': dict(type='RefiningPrompt'),
    'sa2vp': dict(type='SpatialPrompt'),
    'vfpt': dict(type='FourierPrompt', ratio=1.0),
    'bpt-shallow': dict(type='BilinearPrompt'),
    'bpt-deep': dict(type='BilinearPrompt', depth='deep', rank=50, tuned_bases=4),
    'provpt': dict(type='RelocatedPrompt'),
}
#: The same prompts, every token through everything. What guidance costs is read off
#: against ``da-vpt`` and ``vpt-deep``, so there is none for it.
FULL_TOKEN = {f'{name}/full-token': name for name in METHODS if 'guided' not in name}
#: Plain ViTs of the same size: frozen with a linear head, or fine-tuned.
BARE = ('bare', 'bare-timm', 'bare-mmpretrain')
FULL = ('full', 'full-timm', 'full-mmpretrain')
#: LoRA of PEFT (rank 8, query, key and value) on timm's ViT; only where it is named.
PEFT = ('lora-peft',)
#: Ways to run a method, ``METHOD/bf16`` and so on: in bfloat16 under autocast, or with
#: frozen weights kept so (``frozen_dtype``); on a CPU with PyTorch's fused attention in
#: place of ``SlicedAttention``.
WAYS = ('bf16', 'bf16-frozen', 'fused')
NUM_CLASSES = 200
#: What is recomputed in backward, as the backbone's ``with_cp`` says it.
WITH_CP: dict[str, bool | str] = {'none': False, 'mlp': 'mlp', 'layer': True}
#: Kernels of PyTorch's attention.
ATTENTION = ('flash_attention', 'efficient_attention', 'cudnn_attention', 'math')


@dataclass(frozen=True)
class Setting:
    """Everything that a cell of the benchmark depends on but for the subject.

    Args:
        mode: ``train`` for a step of forward, backward and optimizer; or ``infer``.
        arch: A name of ``PromptedVisionTransformer.arch_zoo``.
        image_size: Side of the images in pixels.
        batch_size: Images (B).
        num_tokens: Prompts (M) of every layer that has prompts.
        device: ``cpu``, ``cuda`` or ``meta``.
        dtype: ``fp32``, or ``bf16`` for autocast; of subjects that do not name another.
        drop_rate: Every dropout rate of a prompt.
        optimizer: ``adamw`` or ``sgd`` with momentum.
        threads: Threads of PyTorch on the CPU.
        with_cp: What our methods recompute in backward: ``none``, ``mlp`` or ``layer``.
        attention: ``auto``, or one kernel of ``ATTENTION``.
        compiled: Whether ``torch.compile`` makes a graph of the model.
    """

    mode: str = 'train'
    arch: str = 'vit-b'
    image_size: int = 224
    batch_size: int = 8
    num_tokens: int = 10
    device: str = 'cpu'
    dtype: str = 'fp32'
    drop_rate: float = 0.0
    optimizer: str = 'adamw'
    threads: int = 1
    with_cp: str = 'none'
    attention: str = 'auto'
    compiled: bool = False


class Classifier(nn.Module):
    """A backbone and a linear head, called as OpenMMLab's classifiers are.

    Args:
        backbone: Returns a tuple whose last entry is (B, C), or that entry itself.
        dims: Channels (C).
    """

    def __init__(self, backbone: nn.Module, dims: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(dims, NUM_CLASSES)

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
    ) -> Tensor | dict[str, Tensor]:
        """Return logits (B, K), or the losses by name with ``mode='loss'``.

        Args:
            inputs: Images, (B, 3, height, width).
            data_samples: Carry the labels.
            mode: ``tensor`` or ``loss``.
        """
        features = self.backbone(inputs)
        logits = self.head(features if torch.is_tensor(features) else features[-1])
        if mode == 'tensor':
            return logits
        labels = torch.cat([sample.gt_label for sample in data_samples])
        return dict(loss=F.cross_entropy(logits, labels))


class Subject:
    """A model with data and optimizer, ready to be run again and again.

    Two subjects of one setting see the same images and start from equal parameters
    where those have the same shapes.

    Args:
        name: One of :func:`subject_names`.
        setting: The cell.
        frozen: Frozen weights by name, shared with another ViT of ours to save memory.
    """

    def __init__(
        self, name: str, setting: Setting, frozen: dict[str, Tensor] | None = None
    ) -> None:
        self.name, self.setting = name, setting
        name, self.way = split_name(name, setting.dtype)
        torch.manual_seed(0)
        backbone, dims = build_backbone(name, setting, self.way)
        torch.manual_seed(1)
        self.model = Classifier(backbone, dims).to(setting.device)
        if frozen and isinstance(backbone, (PromptedVisionTransformer, FullTokenViT)):
            vit = getattr(backbone, 'vit', backbone)
            for key, parameter in vit.named_parameters():
                if not parameter.requires_grad:
                    parameter.data = frozen[key].to(parameter.dtype)
        self.model.train(setting.mode == 'train')
        if name.startswith('bare'):
            backbone.eval()
        if name == 'da-vpt-guided':
            hook = MetricGuidanceHook()
            hook.attach(self.model, backbone)
        shape = (setting.batch_size, 3, setting.image_size, setting.image_size)
        self.images = torch.randn(shape).to(setting.device)
        labels = torch.randint(NUM_CLASSES, (setting.batch_size, 1))
        self.samples = [
            DataSample().set_gt_label(label.to(setting.device)) for label in labels
        ]
        self.optimizer = None
        if setting.mode == 'train':
            self.optimizer = build_optimizer(self.model, setting.optimizer)

    def run(self, update: bool = True) -> None:
        """Do what is measured, once; without the update the model stays as it was."""
        if self.setting.mode == 'infer':
            with torch.inference_mode(), self._autocast(), self._kernel():
                self.model(self.images)
            return
        self.backward()
        if update:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def losses(self) -> dict[str, Tensor]:
        """Run forward for training, and return the losses by name."""
        with self._autocast(), self._kernel():
            return self.model(self.images, self.samples, mode='loss')

    def backward(self) -> None:
        """Run forward and backward."""
        sum(self.losses().values()).backward()

    def count(self) -> None:
        """Do the part of :meth:`run` that has countable operations, all but updates."""
        if self.setting.mode == 'train':
            self.backward()
            return
        # The counter follows gradients of whatever asks for them, even where there
        # are none, so nothing may ask.
        self.model.requires_grad_(False)
        with torch.no_grad():
            self.model(self.images)

    def frozen_state(self) -> dict[str, Tensor]:
        """Return the weights of our ViT that do not train, to share them."""
        vit = getattr(self.model.backbone, 'vit', self.model.backbone)
        return {n: p.data for n, p in vit.named_parameters() if not p.requires_grad}

    def _autocast(self) -> contextlib.AbstractContextManager:
        if self.way != 'bf16':
            return contextlib.nullcontext()
        return torch.autocast(self.setting.device, torch.bfloat16)

    def _kernel(self) -> contextlib.AbstractContextManager:
        if self.way == 'fused':
            return _fused_attention()
        if self.setting.attention == 'auto':
            return contextlib.nullcontext()
        return sdpa_kernel(getattr(SDPBackend, self.setting.attention.upper()))


def subject_names(
    mode: str, methods: Sequence[str], against: Sequence[str]
) -> list[str]:
    """Return the subjects of a group, those that belong together side by side.

    In inference full fine-tuning is the bare ViT, and guidance has no part.

    Args:
        mode: ``train`` or ``infer``.
        methods: Keys of ``METHODS``.
        against: ``full-token`` and entries of ``WAYS``, ``BARE``, ``FULL`` and
            ``PEFT``.
    """
    names = []
    for method in methods:
        if mode == 'infer' and method == 'da-vpt-guided':
            continue
        names.append(method)
        if 'full-token' in against and f'{method}/full-token' in FULL_TOKEN:
            names.append(f'{method}/full-token')
        names += [f'{method}/{way}' for way in WAYS if way in against]
    plain = BARE if mode == 'infer' else BARE + FULL + PEFT
    return names + [name for name in plain if name in against]


def split_name(name: str, dtype: str) -> tuple[str, str]:
    """Return the name of a subject without its way, and that way, else ``dtype``."""
    plain, _, way = name.partition('/')
    return (plain, way) if way in WAYS else (name, dtype)


def build_backbone(
    name: str, setting: Setting, way: str = 'fp32'
) -> tuple[nn.Module, int]:
    """Build what a subject runs, and say how many channels it returns."""
    arch = PromptedVisionTransformer.arch_zoo[setting.arch]
    dims = arch['embed_dims']
    size = dict(img_size=setting.image_size, patch_size=16)
    if name.endswith(('-timm', '-peft')):
        from timm.models.vision_transformer import VisionTransformer as TimmViT

        vit = TimmViT(
            **size,
            embed_dim=dims,
            depth=arch['num_layers'],
            num_heads=arch['num_heads'],
            mlp_ratio=arch['feedforward_channels'] / dims,
            num_classes=0,
            global_pool='token',
        )
        if name.endswith('-peft'):
            from peft import LoraConfig, get_peft_model

            vit = get_peft_model(vit, LoraConfig(r=8, target_modules=['qkv']))
    elif name.endswith('-mmpretrain'):
        vit = VisionTransformer(arch=arch, **size)
    else:
        method = FULL_TOKEN.get(name, name)
        tunable = 'full' if name == 'full' else 'none'
        prompt = prompt_config(method, setting) if method in METHODS else None
        vit = PromptedVisionTransformer(
            setting.arch,
            setting.image_size,
            prompt=prompt,
            tunable=tunable,
            with_cp=WITH_CP[setting.with_cp] if name in METHODS else False,
            frozen_dtype='bfloat16' if way == 'bf16-frozen' else None,
        )
    if name.startswith('bare'):
        vit.requires_grad_(False)
    return (FullTokenViT(vit) if name in FULL_TOKEN else vit), dims


def prompt_config(method: str, setting: Setting) -> dict:
    """Return the config of a prompt with the setting's counts and dropout."""
    count, rate = setting.num_tokens, setting.drop_rate
    if method == 'sa2vp':  # a prompt for each patch
        return dict(METHODS[method], drop_rate=rate)
    if method == 'rein':  # no dropout; one of the tokens only takes weight
        return dict(METHODS[method], num_tokens=count + 1, rank=None)
    config = dict(METHODS[method], num_tokens=count, drop_rate=rate)
    if method == 'vapt':
        config.update(conv_drop_rate=rate, mlp_drop_rate=rate)
    elif method.startswith('da-vpt'):
        config.update(num_classes=NUM_CLASSES, num_guided_tokens=count)
    return config


@contextlib.contextmanager
def _fused_attention() -> Iterator[None]:
    held, attention.is_sliced = attention.is_sliced, lambda *_: False
    try:
        yield
    finally:
        attention.is_sliced = held


def build_optimizer(model: nn.Module, name: str) -> torch.optim.Optimizer:
    """Build the optimizer of everything that trains."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if name == 'adamw':
        return torch.optim.AdamW(parameters, lr=1e-4)
    return torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)


def differences(ours: Subject, plain: Subject) -> dict[str, float]:
    """Compare a method with its full-token way, for two images in float64.

    Both are as constructed. With dropout they draw different masks, so there is
    nothing to compare while training.

    Returns:
        The largest difference of logits, relative to the largest of them, and for
        training that of gradients, each relative to the largest of its parameter.

    Raises:
        RuntimeError: If they do not compute the same.
    """
    with _in_float64(ours), _in_float64(plain):
        found = _compare(ours, plain)
    for what, value in found.items():
        if not value < 1e-4:
            raise RuntimeError(
                f'{ours.name} and its full-token way differ by {value:.1e} of the '
                f'largest {what}: one of them is wrong, no figure means anything.'
            )
    return found


@contextlib.contextmanager
def _in_float64(subject: Subject) -> Iterator[None]:
    """Let a subject compute in float64; a small gradient is lost in float32's noise."""
    tensors = [*subject.model.parameters(), *subject.model.buffers()]
    held = [(t, t.data) for t in tensors if t.is_floating_point()]
    images = subject.images
    subject.images = images[:2].double()
    for tensor, data in held:
        tensor.data = data.double()
    try:
        yield
    finally:
        subject.images = images
        for tensor, data in held:  # which subjects may share
            tensor.data = data


def _compare(ours: Subject, plain: Subject) -> dict[str, float]:
    both = (ours, plain)
    with torch.no_grad():
        found = {'output': _difference(*(s.model(s.images) for s in both))}
    if ours.setting.mode == 'train':
        grads = []
        for subject in both:
            losses = subject.model(subject.images, subject.samples[:2], 'loss')
            sum(losses.values()).backward()
            grads.append(
                {
                    name.replace('backbone.vit.', 'backbone.'): parameter.grad
                    for name, parameter in subject.model.named_parameters()
                    if parameter.requires_grad
                }
            )
            subject.optimizer.zero_grad(set_to_none=True)
        for name, grad in grads[0].items():
            found[f'gradient of {name}'] = _difference(grad, grads[1][name])
    return found


def _difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())
