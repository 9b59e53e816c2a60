# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Epochs with and without the prefix cache."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvpt.errors import UserError
from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.models.vit.prefix_cache import PrefixCache, cacheable_layers

from . import measure
from .subjects import NUM_CLASSES, Classifier, Setting, build_optimizer


def compare_epochs(
    *,
    images: int = 32,
    late: int = 3,
    repeats: int = 3,
    folder: str | None = None,
    out: str = 'work_dirs/benchmark/prefix',
    **cell: Any,
) -> dict:
    """Measure epochs with and without the cache, in turn.

    Args:
        images: Images of an epoch.
        late: How many last layers have prompts.
        repeats: Epochs of each way after the first.
        folder: Where the cache goes [a temporary folder].
        out: Result without suffix.
        **cell: Fields of :class:`Setting`.

    Returns:
        What is in the file.

    Raises:
        UserError: If a number is too small.
    """
    setting = Setting(**cell)
    if min(images, setting.batch_size, late, repeats) < 1:
        raise UserError(
            '--images, --batch-size, --late and --repeats must be at least 1.'
        )
    given = dict(images=images, late=late, repeats=repeats)
    result = measure.begin('prefix', {**given, **vars(setting)})
    torch.set_num_threads(setting.threads)
    with tempfile.TemporaryDirectory() as temporary:
        result.update(_compare(setting, images, late, repeats, folder or temporary))
    return measure.finish(result, out, summary(result))


def summary(result: dict) -> str:
    """Return the result as a sentence or two."""
    settings, ratio = result['settings'], result['faster']
    clock = 'processor time' if settings['device'] == 'cpu' else 'wall time'
    return (
        f'Epoch of {settings["images"]} images, prompts in the last '
        f'{settings["late"]} layers: {ratio["median"]:.2f} times faster with the cache '
        f'(least values {ratio["least"]:.2f}), {clock}. The first epoch, which fills '
        f'it, takes {100 * result["first_epoch_overhead"]:.1f} % more, the hash of the '
        f'weights {result["fingerprint_seconds"]:.2f} s. An image takes '
        f'{result["bytes_per_image"] / 1e6:.2f} MB. Outputs differ by '
        f'{result["difference"]:.0e} of the largest.'
    )


def _compare(
    setting: Setting, count: int, late: int, repeats: int, folder: str
) -> dict:
    """Return seconds of every epoch of both ways, and what follows from them."""
    torch.manual_seed(0)
    arch = PromptedVisionTransformer.arch_zoo[setting.arch]
    last, side, device = arch['num_layers'], setting.image_size, setting.device
    layers = list(range(last - late, last))
    prompt = dict(type='DeepPrompt', num_tokens=setting.num_tokens, layers=layers)
    vit = PromptedVisionTransformer(arch, side, prompt=prompt).train()
    model = Classifier(vit, arch['embed_dims']).to(device)
    images = torch.randn(count, 3, side, side).to(device)
    batches = images.split(setting.batch_size)
    cast = torch.autocast(device, torch.bfloat16, enabled=setting.dtype == 'bf16')
    epoch(model, batches[:1], cast)  # libraries load at first use
    cache = PrefixCache(folder, cacheable_layers(vit), 10**12)
    start = time.process_time()
    cache.fingerprint(vit)
    fingerprint_seconds = time.process_time() - start

    def run(held: PrefixCache | None) -> None:
        vit.prefix_cache = held
        epoch(model, batches, cast)

    runs = {'without': partial(run, None), 'with': partial(run, cache)}
    timed = measure.time_in_turns(runs, 1 + repeats, device, warmup=0)
    seconds = timed[measure.clock_of(device)]
    outputs = []
    for vit.prefix_cache in (None, cache):
        with torch.no_grad(), cast:
            outputs.append(vit(batches[0])[0])
    stored = cache.stored
    cache.close()
    plain, cached = (values[1:] for values in seconds.values())
    return dict(
        seconds=seconds,
        faster=dict(
            median=statistics.median(a / b for a, b in zip(plain, cached)),
            least=min(plain) / min(cached),
        ),
        first_epoch_overhead=seconds['with'][0] / min(plain) - 1,
        fingerprint_seconds=fingerprint_seconds,
        bytes_per_image=stored / count,
        difference=float(
            (outputs[0] - outputs[1]).abs().max() / outputs[0].abs().max()
        ),
    )


def epoch(model: nn.Module, batches: Sequence[Tensor], cast: torch.autocast) -> None:
    """Train with every batch once.

    Args:
        model: The backbone, with or without its cache, and the classifier.
        batches: Images, each (B, 3, height, width).
        cast: Precision of the forward pass.
    """
    optimizer = build_optimizer(model, 'adamw')
    for images in batches:
        labels = torch.arange(len(images), device=images.device) % NUM_CLASSES
        with cast:
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
