# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Epochs with and without the prefix cache."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvpt.errors import UserError
from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.models.vit.prefix_cache import PrefixCache, cacheable_layers

from . import measure
from .subjects import NUM_CLASSES


def main(args: argparse.Namespace) -> dict:
    """Run the benchmark, write its file and return what is in it."""
    if min(args.images, args.batch_size, args.late, args.repeats) < 1:
        raise UserError(
            '--images, --batch-size, --late and --repeats must be at least 1.'
        )
    result = measure.begin('prefix', args)
    with tempfile.TemporaryDirectory() as temporary:
        result.update(compare(args, args.folder or temporary))
    result['summary'] = summary(result)
    measure.write(result, args.out)
    print(result['summary'])
    return result


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


def compare(args: argparse.Namespace, folder: str) -> dict:
    """Measure both ways in turn.

    Returns:
        Seconds of every epoch and what follows from them.
    """
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    arch = PromptedVisionTransformer.arch_zoo[args.arch]
    last = arch['num_layers']
    layers = list(range(last - args.late, last))
    prompt = dict(type='DeepPrompt', num_tokens=args.num_tokens, layers=layers)
    vit = PromptedVisionTransformer(arch, args.image_size, prompt=prompt).train()
    model = nn.ModuleList([vit, nn.Linear(arch['embed_dims'], NUM_CLASSES)])
    model.to(args.device)
    size = (args.images, 3, args.image_size, args.image_size)
    batches = torch.randn(size).to(args.device).split(args.batch_size)

    cast = torch.autocast(args.device, torch.bfloat16, enabled=args.dtype == 'bf16')
    epoch(model, batches[:1], cast)  # libraries load at first use
    cache = PrefixCache(folder, cacheable_layers(vit), 10**12)
    start = time.process_time()
    cache.fingerprint(vit)
    fingerprint_seconds = time.process_time() - start
    seconds: dict[str, list[float]] = {'without': [], 'with': []}
    for _ in range(1 + args.repeats):
        for name, values in seconds.items():
            vit.prefix_cache = cache if name == 'with' else None
            values.append(epoch(model, batches, cast))
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
        bytes_per_image=stored / args.images,
        difference=float(
            (outputs[0] - outputs[1]).abs().max() / outputs[0].abs().max()
        ),
    )


def epoch(
    model: nn.ModuleList, batches: Sequence[Tensor], cast: torch.autocast
) -> float:
    """Train with every batch once; return seconds, of the processor or the wall clock.

    Args:
        model: The backbone, with or without its cache, and the classifier.
        batches: Images, each (B, 3, height, width).
        cast: Precision of the forward pass.
    """
    vit, head = model
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4)
    device = batches[0].device.type
    clock = time.process_time if device == 'cpu' else time.perf_counter
    start = clock()
    for images in batches:
        labels = torch.arange(len(images), device=device) % NUM_CLASSES
        with cast:
            loss = F.cross_entropy(head(vit(images)[0]), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    measure.synchronize(device)
    return clock() - start
