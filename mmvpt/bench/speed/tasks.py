# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Measure many tasks served from one backbone: memory, and time of a mixed batch.

Every task has prompts in all layers and a head of its own. The images of a batch belong
to as many tasks as there are, at most one image each; they run as one mixed batch, as a
batch of one task, and one after the other. Writes OUT.json.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmvpt.apis import TaskBank
from mmvpt.display import markdown
from mmvpt.models.vit import PromptedVisionTransformer

from . import measure
from .subjects import Classifier


def serve(
    *,
    tasks: Sequence[int] = (1, 10, 100),
    arch: str = 'vit-b',
    image_size: int = 224,
    batch_size: int = 32,
    num_tokens: int = 10,
    device: str = 'cpu',
    threads: int = 1,
    repeats: int = 5,
    out: str = 'work_dirs/benchmark/tasks',
) -> dict:
    """Measure numbers of tasks, one after the other.

    Args:
        tasks: Numbers of tasks.
        arch: A name such as vit-l.
        image_size: Side in pixels.
        batch_size: Images.
        num_tokens: Prompts of every layer (M).
        device: cpu or cuda.
        threads: Threads of PyTorch on the CPU.
        repeats: Measured rounds, after one that is not.
        out: Result without suffix.

    Returns:
        What is in the file.
    """
    result = dict(measure.begin('tasks', locals()), rows=[])
    torch.set_num_threads(threads)
    shape = (batch_size, 3, image_size, image_size)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    bank = TaskBank()
    for count in sorted(tasks):
        while len(bank) < count:
            bank.add(f'task{len(bank)}', _task(arch, image_size, num_tokens, device))
        names = [f'task{k % count}' for k in range(batch_size)]
        timed = measure.time_in_turns(_ways(bank, images, names), repeats, device)
        seconds = timed[measure.clock_of(device)]
        result['rows'].append(
            dict(tasks=count, bytes=bank.num_bytes(), seconds=seconds)
        )
    return measure.finish(result, out, table(result))


def table(result: dict) -> str:
    """Return the result as Markdown: memory and times, of a task and of a batch."""
    first = result['rows'][0]['bytes']
    rows = [['tasks', 'MiB', 'of one task', 'mixed / one task', 'mixed / one by one']]
    for row in result['rows']:
        seconds = row['seconds']
        ratios = [
            statistics.median(a / b for a, b in zip(seconds['mixed'], seconds[other]))
            for other in ('one task', 'one by one')
        ]
        rows.append(
            [f'{row["tasks"]}', f'{row["bytes"] / 2**20:.0f}']
            + [f'{value:.3f}' for value in (row['bytes'] / first, *ratios)]
        )
    return markdown(rows)


def _task(arch: str, image_size: int, num_tokens: int, device: str) -> Classifier:
    """Build a task; frozen weights are those of a seed, prompts and head its own."""
    torch.manual_seed(0)
    prompt = dict(type='DeepPrompt', num_tokens=num_tokens)
    vit = PromptedVisionTransformer(arch, image_size, prompt=prompt)
    torch.seed()
    torch.nn.init.normal_(vit.prompt.tokens)
    return Classifier(vit, vit.embed_dims).to(device).eval()


def _ways(bank: TaskBank, images: Tensor, names: list[str]) -> dict[str, Callable]:
    """Return what runs the images of these tasks, by name."""
    singles = [(image[None], [name]) for image, name in zip(images, names)]
    return {
        'mixed': lambda: bank(images, names),
        'one task': lambda: bank(images, names[:1] * len(names)),
        'one by one': lambda: [bank(*single) for single in singles],
    }
