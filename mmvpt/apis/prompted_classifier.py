# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prompt tuning of a timm or Hugging Face ViT in anyone's own training loop."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvpt.checkpoint.tuned import frozen_names
from mmvpt.engine.guidance import MetricGuidanceHook, SemanticMappingHook
from mmvpt.engine.guidance.class_pass import unprompted
from mmvpt.engine.guidance.clustering import add_to_classes
from mmvpt.engine.guidance.hooks import enough
from mmvpt.errors import UserError
from mmvpt.models.vit import FrozenHost, PromptedVisionTransformer
from mmvpt.weights import convert, resolve

#: Short names of prompts; each is a config that keyword arguments add to.
PROMPTS: dict[str, dict[str, Any]] = {
    'vpt-shallow': dict(type='ShallowPrompt', num_tokens=10),
    'vpt-deep': dict(type='DeepPrompt', num_tokens=10),
    'gated': dict(type='GatedPrompt', num_tokens=10),
    'vapt': dict(type='AdaptivePrompt', num_tokens=10),
    'davpt': dict(type='DistributionAwarePrompt', mapping='auto'),
    'vfpt': dict(type='FourierPrompt', num_tokens=10),
    'bpt': dict(type='BilinearPrompt', num_tokens=10),
    'spt': dict(type='SelfPrompt', num_tokens=10),
    'vipamin': dict(type='VipaminPrompt', num_tokens=10),
    'pae': dict(type='EvolvingPrompt', num_tokens=10),
    'e2vpt': dict(type='KeyValuePrompt', num_tokens=10, num_key_values=5),
    'cvpt': dict(type='CrossPrompt', num_tokens=10),
    'rein': dict(type='RefiningPrompt'),
    'sa2vp': dict(type='SpatialPrompt'),
}


class PromptedClassifier(nn.Module):
    r"""A frozen ViT with prompts and a linear head.

    ``model(images)`` gives logits (B, K). Frozen parameters have no gradient and stay
    in eval mode under ``train()``, so any optimizer over ``tuned_parameters()`` and any
    loop will do. Methods with losses of their own add ``losses(labels)`` to the task
    loss; methods that start from training images, and DA-VPT's groups of classes, want
    ``prepare(loader)`` once before training.

    Args:
        backbone: The backbone; its output must be one vector for each image.
        num_classes: Classes (K).
        guidance: Arguments of :class:`mmvpt.engine.guidance.MetricGuidanceHook` for a
            ``DistributionAwarePrompt``; its defaults if None.
        mean: Of the images in pretraining, in [0, 1]; None if unknown.
        std: Likewise.

    Raises:
        UserError: If the backbone returns maps.
    """

    def __init__(
        self,
        backbone: PromptedVisionTransformer,
        num_classes: int,
        guidance: Mapping[str, Any] | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        if backbone.out_type != 'cls_token':
            raise UserError(
                f"out_type={backbone.out_type!r}: a classifier needs 'cls_token', one "
                'vector for each image.'
            )
        self.backbone = backbone
        self.head = nn.Linear(backbone.embed_dims, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self._mean, self._std = mean, std
        self._guidance: MetricGuidanceHook | None = None
        if backbone.prompt is not None and backbone.prompt.guided_layers:
            self._guidance = MetricGuidanceHook(**(guidance or {}))
            self._guidance.build(backbone)
        elif guidance:
            raise UserError(
                "guidance is for prompt='davpt'; this prompt has no guided layers."
            )

    @property
    def mean(self) -> tuple[float, ...]:
        """Of the channels of the images in pretraining, in [0, 1]."""
        return self._stated(self._mean)

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviations of the same."""
        return self._stated(self._std)

    def _stated(self, values: tuple[float, ...] | None) -> tuple[float, ...]:
        if values is None:
            raise UserError(
                'The weights do not tell how their images were normalised. Convert '
                'them with tools/weights/convert.py --normalization NAME and give the '
                'result, or write the numbers where you use model.mean and model.std.'
            )
        return values

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) of normalised images (B, 3, height, width)."""
        if self._guidance is not None:
            self._guidance.listen(self.training)
        return self.head(self.backbone(images)[0])

    def losses(self, labels: Tensor) -> dict[str, Tensor]:
        """Return what the method adds to the task loss, by name; empty for most.

        Call it behind ``model(images)`` of the same batch, in training mode.

        Args:
            labels: Classes of the images of the last forward pass, (B,).
        """
        prompt = self.backbone.prompt
        found: dict[str, Tensor] = {}
        if prompt is None or not self.training:
            return found
        if self._guidance is not None:
            if bool((prompt.class_to_prompt < 0).any()):
                raise UserError(
                    'classes have no prompts yet: call prepare(loader) before training.'
                )
            own = prompt.assign(labels.to(prompt.class_to_prompt.device))
            targets = dict.fromkeys(self._guidance.terms, own)
            found.update(self._guidance.losses(targets))
        return {**found, **prompt.losses()}

    @torch.no_grad()
    def prepare(self, loader: Iterable[tuple[Tensor, Tensor]], seed: int = 0) -> None:
        """Start what starts from training images; nothing for the other methods.

        Args:
            loader: Batches of normalised training images and their labels.
            seed: Of what is drawn.
        """
        prompt = self.backbone.prompt
        training = self.training
        device = self.head.weight.device
        self.eval()
        if prompt is not None and prompt.init_images != 0 and not prompt.started:
            prompt.init_seed = seed
            host = FrozenHost(self.backbone, self._loss)
            prompt.initialise(host, _first(loader, prompt.init_images, device))
            prompt.started = True
        if self._guidance is not None and bool((prompt.class_to_prompt < 0).any()):
            sums = torch.zeros(prompt.num_classes, self.backbone.embed_dims).double()
            counts = torch.zeros(prompt.num_classes, dtype=torch.long)
            with unprompted(self.backbone):
                for images, labels in loader:
                    features = self.backbone(images.to(device))[0]
                    add_to_classes(sums, counts, features.cpu(), labels.cpu())
            old, centroids = prompt.class_to_prompt.cpu(), prompt.centroids.cpu()
            enough(counts, len(centroids))
            generator = torch.Generator().manual_seed(seed)
            new, centroids = SemanticMappingHook().cluster(
                sums, counts, old, centroids, generator
            )
            prompt.class_to_prompt.copy_(new)
            prompt.centroids.copy_(centroids)
        self.train(training)

    def tuned_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that train: prompts, head, what ``tunable`` names."""
        return [p for p in self.parameters() if p.requires_grad]

    def tuned_state_dict(self) -> dict[str, Tensor]:
        """Return the state dict without frozen weights, a file of a few megabytes."""
        frozen = frozen_names(self)
        return {k: v for k, v in self.state_dict().items() if k not in frozen}

    def load_tuned_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load what :meth:`tuned_state_dict` returned.

        Raises:
            UserError: If names are missing or unknown.
        """
        expected = self.tuned_state_dict().keys()
        if state.keys() != expected:
            raise UserError(
                f'the state has other names: missing {sorted(expected - state.keys())}'
                f', unknown {sorted(state.keys() - expected)}. Build the model with '
                'the prompt, tunable and num_classes it was saved with.'
            )
        self.load_state_dict({**self.state_dict(), **state})

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self(images), labels)


def prompted(
    model: str | os.PathLike,
    prompt: str | Mapping[str, Any] | None = 'vpt-deep',
    *,
    num_classes: int,
    pretrained: bool = True,
    img_size: int | None = None,
    guidance: Mapping[str, Any] | None = None,
    **backbone: Any,
) -> PromptedClassifier:
    """Return a frozen ViT with prompts and a head, as a plain ``nn.Module``.

    Args:
        model: A name of timm, ``ORG/NAME`` on the Hugging Face hub, ``mmvpt://NAME``,
            or a file or folder with weights.
        prompt: A key of ``PROMPTS``, the config of a prompt, or None for a linear
            probe. ``'davpt'`` gets ``num_classes``.
        num_classes: Classes of the head.
        pretrained: Whether timm's weights are loaded; else they are random.
        img_size: Training image size in pixels; by default that of the weights.
        guidance: See :class:`PromptedClassifier`.
        **backbone: Further arguments of
            :class:`mmvpt.models.vit.PromptedVisionTransformer`, such as ``tunable`` and
            ``adapter``.

    Raises:
        UserError: If the model or the prompt is unknown, or they do not fit.
    """
    found = convert(_source(model), pretrained=pretrained)
    options = {**found.architecture.backbone_options(), **backbone}
    if isinstance(prompt, str):
        if prompt not in PROMPTS:
            raise UserError(
                f'prompt={prompt!r}: known are {", ".join(PROMPTS)}, or a config such '
                "as dict(type='DeepPrompt', num_tokens=10)."
            )
        prompt = dict(PROMPTS[prompt])
    if prompt is not None and prompt.get('type') == 'DistributionAwarePrompt':
        prompt = {'num_classes': num_classes, **prompt}
    if img_size is not None:
        options['img_size'] = img_size
    vit = PromptedVisionTransformer(**options, prompt=dict(prompt) if prompt else None)
    missing, unexpected = vit.load_state_dict(found.state, strict=False)
    lost = [name for name in missing if name in frozen_names(vit)] + unexpected
    if lost:
        raise UserError(
            f'{model} and the backbone differ in {", ".join(lost[:5])}. Leave out '
            f'{", ".join(backbone) or "nothing"}, or convert the weights.'
        )
    norm = found.normalization
    mean, std = (
        tuple(value / 255 for value in values) if values else None
        for values in ((norm.mean, norm.std) if norm else (None, None))
    )
    return PromptedClassifier(vit, num_classes, guidance, mean, std)


def _source(model: str | os.PathLike) -> str | os.PathLike:
    """Return what :func:`mmvpt.weights.convert` takes for a model's name."""
    text = os.fspath(model)
    if Path(text).exists():
        return model
    if '://' in text:
        return resolve(text)
    return f'hf://{text}' if '/' in text else f'timm:{text}'


def _first(
    loader: Iterable[tuple[Tensor, Tensor]], count: int | None, device: torch.device
):
    """Yield batches on a device until ``count`` images were seen; None for all."""
    for images, labels in loader:
        if count is not None:
            images, labels = images[:count], labels[:count]
            count -= len(images)
        yield images.to(device), labels.to(device)
        if count == 0:
            return
