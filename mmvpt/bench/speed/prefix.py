# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Epochs with and without the prefix cache."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvpt.errors import UserError
from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.models.vit.prefix_cache import PrefixCache, cacheable_layers

from . import measure
from .subjects import NUM_CLASSES, Classifier, build_optimizer


def compare_epochs(
    *,
    arch: str = 'vit-b',
    image_size: int = 224,
    images: int = 32,
    batch_size: int = 8,
    num_tokens: int = 10,
    late: int = 3,
    device: str = 'cpu',
    dtype: str = 'fp32',
    threads: int = 1,
    repeats: int = 3,
    folder: str | None = None,
    out: str = 'work_dirs/benchmark/prefix',
) -> dict:
    """Measure epochs with and without the cache, in turn.

    Args:
        arch: A name such as vit-l.
        image_size: Side in pixels.
        images: Images of an epoch.
        batch_size: Images of a step (B).
        num_tokens: Prompts of every late layer (M).
        late: How many last layers have prompts.
        device: cpu or cuda.
        dtype: bf16: autocast.
        threads: Threads of PyTorch on the CPU.
        repeats: Epochs of each way after the first.
        folder: Where the cache goes [a temporary folder].
        out: Result without suffix.

    Returns:
        What is in the file.

    Raises:
        UserError: If a number is too small.
    """
    if min(images, batch_size, late, repeats) < 1:
        raise UserError(
            '--images, --batch-size, --late and --repeats must be at least 1.'
        )
    result = measure.begin('prefix', locals())
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as temporary:
        result.update(_compare(result['settings'], folder or temporary))
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


def _compare(settings: dict, folder: str) -> dict:
    """Return seconds of every epoch of both ways, and what follows from them."""
    torch.manual_seed(0)
    arch = PromptedVisionTransformer.arch_zoo[settings['arch']]
    last, side = arch['num_layers'], settings['image_size']
    layers = list(range(last - settings['late'], last))
    prompt = dict(type='DeepPrompt', num_tokens=settings['num_tokens'], layers=layers)
    vit = PromptedVisionTransformer(arch, side, prompt=prompt).train()
    device = settings['device']
    model = Classifier(vit, arch['embed_dims']).to(device)
    images = torch.randn(settings['images'], 3, side, side).to(device)
    batches = images.split(settings['batch_size'])
    cast = torch.autocast(device, torch.bfloat16, enabled=settings['dtype'] == 'bf16')
    epoch(model, batches[:1], cast)  # libraries load at first use
    cache = PrefixCache(folder, cacheable_layers(vit), 10**12)
    start = time.process_time()
    cache.fingerprint(vit)
    fingerprint_seconds = time.process_time() - start

    def run(held: PrefixCache | None) -> None:
        vit.prefix_cache = held
        epoch(model, batches, cast)

    runs = {'without': partial(run, None), 'with': partial(run, cache)}
    rounds = 1 + settings['repeats']
    timed = measure.time_in_turns(runs, rounds, device, warmup=0)
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
        bytes_per_image=stored / len(images),
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
