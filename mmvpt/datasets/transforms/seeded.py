# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Random transforms that depend on the draw alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS as MMPRETRAIN_TRANSFORMS

from mmvpt.errors import UserError
from mmvpt.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SeededTransforms(BaseTransform):
    """Runs random transforms with generators seeded by the draw.

    Python's ``random``, numpy's global generator and torch's CPU generator are seeded
    from ``results['sample_idx'].seed`` and put back afterwards. The image is then the
    same in any worker, process or resumed run, and loading in the main process leaves
    the model's random numbers (dropout) alone. Needs a sampler that gives seeds, such
    as ``mmvpt.SeededSampler``.

    Transforms with generators of their own (some of Albumentations) are out of reach.

    Example::

        train_pipeline = [
            dict(type='LoadImageFromFile'),
            dict(
                type='mmvpt.SeededTransforms',
                transforms=[
                    dict(type='RandomCrop', crop_size=224),
                    dict(type='RandomFlip', prob=0.5),
                ],
            ),
            dict(type='PackInputs'),
        ]

    Args:
        transforms: The random transforms, configs or callables. Short type names are
            those of the default scope, or mmpretrain's if there is none.

    Raises:
        UserError: If ``transforms`` is empty, or a sample carries no seed.
    """

    def __init__(self, transforms: Sequence[dict | Callable[[dict], dict]]) -> None:
        if not transforms:
            raise UserError('SeededTransforms needs at least one transform, got none.')
        self.transforms = [
            MMPRETRAIN_TRANSFORMS.build(t) if isinstance(t, dict) else t
            for t in transforms
        ]

    def transform(self, results: dict) -> dict | None:
        """Run the transforms on one sample."""
        seed = getattr(results.get('sample_idx'), 'seed', None)
        if seed is None:
            raise UserError(
                'SeededTransforms needs a sample_idx that carries a seed, got '
                f'{results.get("sample_idx")!r}. Set sampler=dict(type='
                "'mmvpt.SeededSampler') in the dataloader, or "
                "'mmvpt.SeededInfiniteSampler' for an iteration-based loop. Dataset "
                'wrappers that look indices up in a table (ClassBalancedDataset, '
                'KFoldDataset) lose the seed, and so does the replacement that '
                'mmengine draws when a transform returns None.'
            )
        with seeded_generators(seed):
            for transform in self.transforms:
                results = transform(results)
                if results is None:
                    return None
        return results

    def __repr__(self) -> str:
        inner = ', '.join(repr(transform) for transform in self.transforms)
        return f'{type(self).__name__}(transforms=[{inner}])'


@contextmanager
def seeded_generators(seed: int) -> Iterator[None]:
    """Seed ``random``, numpy and torch on the CPU; put them back at the end.

    torch.manual_seed is no choice here: it seeds the accelerators too.

    Args:
        seed: The seed, 0..2**64-1.
    """
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    torch_state = torch.get_rng_state()
    try:
        random.seed(seed)
        np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
