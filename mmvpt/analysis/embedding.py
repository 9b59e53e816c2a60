# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prompts, class means, images and patches as points in the plane."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvpt.errors import UserError, needed, one_of

from .layers import (
    LayerInput,
    positive_prompts,
    prompted_backbone,
    read_layers,
    resolve_layer,
)

#: Kinds of points, in the order of ``kind``.
KINDS = ('prompt', 'class mean', 'image', 'patch')
SPACES = ('query', 'key', 'normed')
METHODS = ('tsne', 'umap', 'pca')


@torch.no_grad()
def layer_points(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    layer: int | None = None,
    space: str = 'query',
    max_patches: int = 400,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    r"""Collect what enters a layer as unit vectors of one space.

    Args:
        model: A model with one prompted backbone that has CLS.
        batches: Preprocessed images (B, in_channels, height, width) with the class of
            each, (B,), or which classes it has, bool (B, K).
        layer: Index, negative from the end; None for the last guided layer, or the last
            of all.
        space: ``query`` :math:`W_Q \mathrm{LN}_1(z) + b_Q`, where DA-VPT compares;
            ``key``, what queries meet; ``normed`` :math:`\mathrm{LN}_1(z)`.
        max_patches: Patches kept, drawn from all images.
        seed: Of that draw.

    Returns:
        ``vectors`` (P, C) of length 1; ``kind`` (P,), index into ``KINDS``; ``number``
        (P,): of a prompt its index, of a class mean its class, of an image or patch the
        class of the image (the lowest, if it has several; -1 if none); ``group`` (P,):
        of a prompt its index, of the others the positive prompt by DA-VPT's map, -1
        where there is no map; ``layer``.

    Raises:
        UserError: For a wrong layer or space, a layer without prompts, a backbone
            without CLS, or no images.
    """
    one_of('space', space, SPACES)
    backbone = prompted_backbone(model)
    index = resolve_layer(backbone, layer)
    if not backbone.num_extra_tokens:
        raise UserError('the backbone has no CLS token that stands for an image.')
    prompts, images, patches = [], [], []
    members: list[Tensor] = []
    patch_owner: list[Tensor] = []
    for inputs, classes in batches:
        entered = read_layers(backbone, inputs)[index]
        if entered.prompts is None:
            raise UserError(
                f'layer {index} has no prompts; choose another layer '
                f'({backbone.num_layers} in all).'
            )
        count = entered.num_prompts
        points = _in_space(backbone, entered, space)
        prompts.append(points[:, 1 : 1 + count])
        images.append(points[:, 0])
        patches.append(points[:, 1 + count :].flatten(0, 1))
        start = sum(len(part) for part in members)
        numbers = torch.arange(start, start + len(inputs))
        patch_owner.append(numbers.repeat_interleave(points.shape[1] - 1 - count))
        members.append(classes.cpu())
    if not images:
        raise UserError('there are no images to look at; give at least one.')

    member = torch.cat(members)
    positive = positive_prompts(backbone, index, member)
    if positive is None:
        positive = torch.full((len(member),), -1)
    present = member if member.dim() == 2 else F.one_hot(member).bool()
    lowest = torch.where(present.any(1), present.int().argmax(1), -1)
    seen = present.any(0).nonzero()[:, 0]
    image = torch.cat(images)
    means = torch.stack([image[present[:, c].to(image.device)].mean(0) for c in seen])
    of_class = torch.full_like(seen, -1)
    if bool((positive >= 0).any()):
        of_class = backbone.prompt.class_to_prompt.cpu()[seen]
    owner = torch.cat(patch_owner)
    kept = torch.randperm(len(owner), generator=torch.Generator().manual_seed(seed))
    kept = kept[:max_patches].sort().values
    prompt = torch.cat(prompts).mean(0)
    count = torch.arange(len(prompt))
    positive, owner = positive.cpu(), owner[kept]
    rows = [prompt, means, image, torch.cat(patches)[kept.to(image.device)]]
    vectors = F.normalize(torch.cat(rows).double(), dim=-1)
    return dict(
        vectors=vectors.cpu().numpy(),
        kind=np.repeat(np.arange(len(rows)), [len(part) for part in rows]),
        number=torch.cat([count, seen, lowest, lowest[owner]]).numpy(),
        group=torch.cat([count, of_class, positive, positive[owner]]).numpy(),
        layer=np.array(index),
    )


def place(vectors: np.ndarray, method: str = 'tsne', seed: int = 0) -> np.ndarray:
    """Place vectors in the plane.

    Args:
        vectors: (P, C), at least 4 of them.
        method: ``tsne`` (scikit-learn), ``umap`` (if umap-learn is installed) or
            ``pca``, the two directions of largest variance.
        seed: Of t-SNE and UMAP.

    Returns:
        (P, 2).

    Raises:
        UserError: For an unknown method or too few vectors.
        MissingPackageError: If umap-learn is not installed.
    """
    one_of('method', method, METHODS)
    if len(vectors) < 4:
        raise UserError(f'{len(vectors)} points are too few; give more images.')
    if method == 'pca':
        centred = vectors - vectors.mean(axis=0)
        left, scale, _ = np.linalg.svd(centred, full_matrices=False)
        return left[:, :2] * scale[:2]
    if method == 'tsne':
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(vectors) - 1) / 3)
        model = TSNE(perplexity=perplexity, init='pca', random_state=seed)
    else:
        with needed(
            'UMAP needs the umap-learn package: pip install umap-learn, or choose '
            "method='tsne' or 'pca'."
        ):
            umap = importlib.import_module('umap')
        model = umap.UMAP(n_neighbors=min(15, len(vectors) - 1), random_state=seed)
    return model.fit_transform(vectors)


def _in_space(backbone: nn.Module, entered: LayerInput, space: str) -> Tensor:
    """Return [CLS, prompts, patches] of a layer in ``space``, (B, T, C)."""
    layer = backbone.layers[entered.layer]
    normed = layer.ln1(entered.sequence())
    if space == 'normed':
        return normed
    return layer.attn.project(normed, int(space == 'key'), 1)
