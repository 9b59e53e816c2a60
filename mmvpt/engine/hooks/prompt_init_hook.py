# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Starts prompts from training images, once, before training."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmvpt.datasets.samplers import Draw, draw_seed
from mmvpt.engine.forward import changed, evaluated, unwrapped
from mmvpt.errors import UserError
from mmvpt.models.prompts import BasePrompt
from mmvpt.models.vit import FrozenHost, PromptedVisionTransformer
from mmvpt.registry import HOOKS

#: Name of the record in the checkpoint's message hub.
RECORD = 'prompt_init'


@HOOKS.register_module()
class PromptInitHook(Hook):
    """Run ``initialise`` of the prompt before training, if it wants images.

    The images are training images, drawn without replacement by the seed of the run,
    with the transforms of training but without what mixes a batch. The model is in
    eval mode and nothing has a gradient. Rank 0 computes, the others get its values. A
    prompt whose parameters were loaded, by ``resume``, ``load_from`` or with the
    backbone, is left as it is. The checkpoint records what was done. Prompts that want
    no images cost nothing.

    Args:
        batch_size: Images that run together; that of training if None.
        seed: Of the draws; that of the run if None.
    """

    priority = 'NORMAL'

    def __init__(self, batch_size: int | None = None, seed: int | None = None) -> None:
        self.batch_size = batch_size
        self.seed = seed

    def before_train(self, runner: Runner) -> None:
        """Start what is to be started."""
        model = unwrapped(runner.model)
        for vit in model.modules():
            if not isinstance(vit, PromptedVisionTransformer) or vit.prompt is None:
                continue
            if vit.prompt.init_images == 0:
                continue
            if vit.prompt.started:
                runner.logger.info('PromptInitHook: the prompts were loaded, not made.')
                continue
            self._start(runner, model, vit, vit.prompt)

    def _start(
        self,
        runner: Runner,
        model: nn.Module,
        vit: PromptedVisionTransformer,
        prompt: BasePrompt,
    ) -> None:
        dataset = runner.train_dataloader.dataset
        name = type(prompt).__name__
        if not hasattr(dataset, '__len__'):
            raise UserError(
                f'{name} starts from training images, but the training data has no '
                'length. Use a data set with single images.'
            )
        wanted = prompt.init_images
        count = len(dataset) if wanted is None else min(wanted, len(dataset))
        seed = runner.seed if self.seed is None else self.seed
        prompt.init_seed = seed
        if dist.is_main_process():
            batches = runner.train_dataloader.batch_sampler
            size = self.batch_size or getattr(batches, 'batch_size', None) or 1
            loader = _loader(runner.train_dataloader, count, size, seed)
            host = FrozenHost(vit, _loss_of(model))
            with _seeded(seed), evaluated(model), torch.no_grad():
                prompt.initialise(host, _batches(model, prompt, loader))
        _share(prompt)
        prompt.started = True
        record = dict(prompt=name, images=count, seed=seed)
        runner.message_hub.update_info(RECORD, record)
        runner.logger.info(
            f'PromptInitHook: {name} starts from {count} training images, seed {seed}.'
        )


def _loader(train: Any, count: int, batch_size: int, seed: int) -> DataLoader:
    """Return a loader of ``count`` training images, each with a seed of its own."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(train.dataset), generator=generator)[:count].tolist()
    return DataLoader(
        train.dataset,
        batch_size,
        sampler=[Draw(n, draw_seed(seed, k, n)) for k, n in enumerate(chosen)],
        num_workers=train.num_workers,
        collate_fn=train.collate_fn,
        generator=generator,
    )


def _batches(
    model: nn.Module, prompt: BasePrompt, loader: DataLoader
) -> Iterator[tuple[Tensor, Any]]:
    """Yield preprocessed images with what the model's loss calls their labels."""
    preprocess = model.data_preprocessor
    for batch in loader:
        with changed(preprocess, batch_augments=None):
            data = preprocess(batch, training=True)
        yield data['inputs'], _labels(data) if prompt.init_labels else None


def _labels(data: dict) -> Any:
    """Return labels (b,) of a classification, else the data samples."""
    samples = data.get('data_samples')
    if not samples:
        raise UserError(
            'the prompt starts from labelled images, but the training images have no '
            "data_samples. Add dict(type='PackInputs') to the pipeline."
        )
    if all(hasattr(sample, 'gt_label') for sample in samples):
        if all(sample.gt_label.numel() == 1 for sample in samples):
            return torch.cat([sample.gt_label for sample in samples])
    return samples


def _loss_of(model: nn.Module) -> Any:
    """Return the sum of a model's losses as a function of images and labels."""

    def loss(images: Tensor, labels: Any) -> Tensor:
        samples = labels
        if isinstance(labels, Tensor):
            samples = [DataSample().set_gt_label(label) for label in labels]
        losses = model(images, samples, mode='loss')
        return model.parse_losses(losses)[0]

    return loss


def _share(prompt: nn.Module) -> None:
    """Give all ranks the prompt of rank 0."""
    if dist.get_world_size() == 1:
        return
    for value in (*prompt.parameters(), *prompt.buffers()):
        shared = value.detach().clone()
        dist.broadcast(shared)
        with torch.no_grad():
            value.copy_(shared)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from a seed, and go on afterwards as if nothing had been drawn."""
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        yield
    random.setstate(before[0])
    np.random.set_state(before[1])
