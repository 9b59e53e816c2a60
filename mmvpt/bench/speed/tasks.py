# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Measure many tasks on one backbone: memory, and time of a mixed batch.

Every task has prompts in all layers and a head of its own. To be served, the images of
a batch belong to as many tasks as there are, at most one image each; they run as one
mixed batch, as a batch of one task, and one after the other. To be trained, each task
has a batch of its own; a step of all runs together, or one after the other. Writes
OUT.json.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

import torch
from mmpretrain.structures import DataSample
from torch import Tensor

from mmvpt.apis import TaskBank
from mmvpt.display import markdown
from mmvpt.models.vit import PromptedVisionTransformer

from . import measure
from .subjects import NUM_CLASSES, Classifier


def measure_tasks(
    *,
    mode: str = 'infer',
    tasks: Sequence[int] = (1, 10, 100),
    arch: str = 'vit-b',
    image_size: int = 224,
    batch_size: int = 32,
    num_tokens: int = 10,
    last_layers: int | None = None,
    device: str = 'cpu',
    threads: int = 1,
    repeats: int = 5,
    out: str = 'work_dirs/benchmark/tasks',
) -> dict:
    """Measure numbers of tasks, one after the other.

    Args:
        mode: infer, or train for steps of forward, backward and optimizer.
        tasks: Numbers of tasks.
        arch: A name such as vit-l.
        image_size: Side in pixels.
        batch_size: Images; in training those of each task.
        num_tokens: Prompts of every layer (M).
        last_layers: Prompts are in so many last layers [all].
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
    prompt = dict(type='DeepPrompt', num_tokens=num_tokens)
    if last_layers is not None:
        depth = PromptedVisionTransformer.arch_zoo[arch]['num_layers']
        prompt['layers'] = list(range(depth - last_layers, depth))
    bank = TaskBank()
    for count in sorted(tasks):
        while len(bank) < count:
            bank.add(f'task{len(bank)}', _task(arch, image_size, prompt, device))
        names = [f'task{k % count}' for k in range(batch_size)]
        ways = (
            _served(bank, images, names) if mode == 'infer' else _trained(bank, images)
        )
        timed = measure.time_in_turns(ways, repeats, device)
        seconds = timed[measure.clock_of(device)]
        result['rows'].append(
            dict(tasks=count, bytes=bank.num_bytes(), seconds=seconds)
        )
    return measure.finish(result, out, table(result))


def table(result: dict) -> str:
    """Return the result as Markdown: memory, and times as ratios (of least values)."""
    first = result['rows'][0]
    way, *others = first['seconds']
    head = ['tasks', 'MiB', 'of one task', *(f'{way} / {other}' for other in others)]
    rows = [head]
    for row in result['rows']:
        seconds, size = row['seconds'], row['bytes']
        rows.append([f'{row["tasks"]}', f'{size / 2**20:.0f}'])
        rows[-1].append(f'{size / first["bytes"]:.3f}')
        for other in others:
            ratios = [a / b for a, b in zip(seconds[way], seconds[other])]
            least = min(seconds[way]) / min(seconds[other])
            rows[-1].append(f'{statistics.median(ratios):.3f} ({least:.3f})')
    return markdown(rows)


def _task(arch: str, image_size: int, prompt: dict, device: str) -> Classifier:
    """Build a task; frozen weights are those of a seed, prompts and head its own."""
    torch.manual_seed(0)
    vit = PromptedVisionTransformer(arch, image_size, prompt=prompt)
    torch.seed()
    torch.nn.init.normal_(vit.prompt.tokens)
    return Classifier(vit, vit.embed_dims).to(device).eval()


def _served(bank: TaskBank, images: Tensor, names: list[str]) -> dict[str, Callable]:
    """Return what runs the images of these tasks, by name."""
    singles = [(image[None], [name]) for image, name in zip(images, names)]
    return {
        'mixed': lambda: bank(images, names),
        'one task': lambda: bank(images, names[:1] * len(names)),
        'one by one': lambda: [bank(*single) for single in singles],
    }


def _trained(bank: TaskBank, images: Tensor) -> dict[str, Callable]:
    """Return what trains every task on the images for a step, by name."""
    labels = torch.arange(len(images), device=images.device) % NUM_CLASSES
    part = dict(
        inputs=images,
        data_samples=[DataSample().set_gt_label(label) for label in labels],
    )
    models = {name: bank[name].train() for name in bank}
    tuned = [p for m in models.values() for p in m.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(tuned, lr=1e-4)  # each tensor by itself

    def step(losses: Iterator[dict[str, Tensor]]) -> None:
        optimizer.zero_grad(set_to_none=True)
        for loss in losses:
            sum(loss.values()).backward()
        optimizer.step()

    def together() -> Iterator[dict[str, Tensor]]:
        found = bank.losses(dict.fromkeys(models, part))
        yield {name: sum(losses.values()) for name, losses in found.items()}

    def alone() -> Iterator[dict[str, Tensor]]:
        return (model(**part, mode='loss') for model in models.values())

    return {'together': lambda: step(together()), 'one by one': lambda: step(alone())}
