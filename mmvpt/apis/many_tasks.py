# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Many tuned models on one frozen backbone, served or trained together."""

from __future__ import annotations

import contextlib
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Union

import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from mmvpt.errors import UserError
from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.models.vit.serving import run_mixed

from .images import ImageLike, find_images
from .limits import slides
from .load import load
from .results import Predictions
from .tuned_model import TunedModel

Task = Union[nn.Module, TunedModel]
# Children that a task has of its own; all other modules must be built alike.
_OWN = ('prompt', 'guide', 'tuned_bias', 'adapter')


class TaskBank:
    """Tuned models that hold one copy of the frozen weights between them.

    Each task is a whole model and can be used as such: ``bank['birds']``. Frozen
    weights of its backbone are those of the task that was added first, the same
    tensors; weights that a task tunes are its own. :meth:`losses` trains them
    together; to go on training one by itself, copy it (``copy.deepcopy``).

    :meth:`forward` and :meth:`predict` take batches in which every image belongs to
    another task and run them through the layers together, see
    :func:`mmvpt.models.vit.serving.run_mixed`.

    Args:
        keep: Of how many tasks, those used last, keys and values of static prompts are
            kept between batches. They take up to twice as much memory as the prompts;
            computing them anew costs M of the T tokens of one image.

    Raises:
        UserError: If ``keep`` is negative.
    """

    def __init__(self, keep: int = 4) -> None:
        if keep < 0:
            raise UserError(f'keep must be at least 0, got {keep}.')
        self.keep = keep
        self._tasks: dict[str, Task] = {}
        self._used: list[str] = []  # the last one last

    def add(self, name: str, task: Task | str | os.PathLike) -> Task:
        """Add a task and share its frozen weights.

        Args:
            name: What it is called from now on.
            task: A checkpoint of ``tools/publish.py`` or of training; what
                :func:`mmvpt.load` returns; or a model with a
                ``PromptedVisionTransformer`` as ``backbone``, which is changed in
                place: its mode to eval, its frozen weights to those of the bank.

        Returns:
            The task, as ``bank[name]`` is from now on.

        Raises:
            UserError: If ``task`` is none of these, the name is taken, or the backbone
                is another: its frozen weights or how its modules are built.
            CheckpointError: If a file cannot be read or belongs to other weights.
        """
        if name in self._tasks:
            raise UserError(f'there is a task {name!r} already; remove it first.')
        if isinstance(task, (str, os.PathLike)):
            task = load(task, device=self.device)
        if not isinstance(model_of(task), nn.Module):
            raise UserError(
                f'task {name!r} must be a file, what mmvpt.load returns, or a model, '
                f'got {type(task).__name__}.'
            )
        vit = backbone_of(task)
        if self._tasks:
            self._share(name, vit)
        model_of(task).eval()
        self._tasks[name] = task
        return task

    @property
    def device(self) -> torch.device | None:
        """Where the tasks are, None before the first one."""
        first = next(iter(self._tasks.values()), None)
        return None if first is None else next(model_of(first).parameters()).device

    def remove(self, name: str) -> None:
        """Forget a task."""
        del self._tasks[name]
        self._used = [used for used in self._used if used != name]

    def __getitem__(self, name: str) -> Task:
        if name not in self._tasks:
            known = ', '.join(self._tasks) or 'none'
            raise KeyError(f'there is no task {name!r}; there are: {known}.')
        return self._tasks[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def to(self, device: str | torch.device) -> TaskBank:
        """Move all tasks; what they share stays shared."""
        for task in self._tasks.values():
            task.to(device)
        return self

    def num_bytes(self) -> int:
        """Bytes of all parameters, buffers and kept keys and values, each once."""
        found, kept = {}, 0
        for task in self._tasks.values():
            model = model_of(task)
            for tensor in (*model.parameters(), *model.buffers()):
                storage = tensor.untyped_storage()
                found[storage._cdata] = storage.nbytes()
            kept += backbone_of(task).static_prompts.num_bytes
        return sum(found.values()) + kept

    @torch.no_grad()
    def forward(self, images: Tensor, tasks: Sequence[str]) -> list[Any]:
        """Return for each image what its model returns with ``mode='tensor'``.

        Args:
            images: Normalised images of one size, (B, in_channels, height, width).
            tasks: The task of each image, B names.

        Returns:
            B outputs, each without the batch dimension: logits (K,) of a classifier.

        Raises:
            KeyError: For an unknown task.
            UserError: If there are not as many images as tasks.
        """
        if len(images) != len(tasks):
            raise UserError(f'{len(images)} images, but {len(tasks)} tasks.')
        rows = _by_task(tasks)
        inputs = {name: images[index] for name, index in rows.items()}
        outputs: list[Any] = [None] * len(tasks)
        for name, outs in self._features(inputs).items():
            with _computed(backbone_of(self[name]), outs):
                found = model_of(self[name])(inputs[name])
            for position, k in enumerate(rows[name]):
                outputs[k] = _pick(found, position)
        return outputs

    __call__ = forward

    def losses(self, data: Mapping[str, Mapping]) -> dict[str, dict[str, Tensor]]:
        """Return the losses of tasks, whose images run together, for one backward pass.

        Equal to those of each model by itself, gradients too, but for the order in
        which dropout draws. The same images may be given to several tasks: trials of
        one search, say. Losses that hooks of a runner add are not among them.

        Args:
            data: What the model of each task is called with: ``inputs``, normalised
                images of one size (B_k, in_channels, height, width), and
                ``data_samples``, as its ``data_preprocessor`` returns them.

        Returns:
            By task, what the model returns with ``mode='loss'``.

        Raises:
            KeyError: For an unknown task.
            UserError: If some tasks are in training mode and others not, or one is
                guided by metric losses.
        """
        features = self._features({name: part['inputs'] for name, part in data.items()})
        found = {}
        for name, part in data.items():
            with _computed(backbone_of(self[name]), features[name]):
                found[name] = model_of(self[name])(**part, mode='loss')
        return found

    @torch.no_grad()
    def predict(
        self,
        images: ImageLike | Sequence[ImageLike],
        tasks: str | Sequence[str],
        batch_size: int = 32,
        channels: str = 'rgb',
    ) -> Predictions:
        """Predict images that belong to different tasks.

        Every image goes through the test pipeline of its own task; those of one size
        then form batches, whatever their tasks. A segmentor that slides a window runs
        by itself.

        Args:
            images: As for :meth:`TunedModel.predict`.
            tasks: The task of each image, or one for all.
            batch_size: Images in a batch.
            channels: Order of the channels of arrays, ``rgb`` or ``bgr``.

        Returns:
            One result for each image, in their order.

        Raises:
            ImageError: For an image that cannot be read.
            KeyError: For an unknown task.
            UserError: For a task that was added as a bare model, or if there are not as
                many images as tasks.
        """
        sources = find_images(images)
        names = [tasks] * len(sources) if isinstance(tasks, str) else list(tasks)
        if len(names) != len(sources):
            raise UserError(f'{len(sources)} images, but {len(names)} tasks.')
        for name in names:
            if not isinstance(self[name], TunedModel):
                raise UserError(
                    f'task {name!r} is a model without a test pipeline; add a '
                    'checkpoint or what mmvpt.load returns, or use forward.'
                )
        results: list[Any] = []
        for begin in range(0, len(sources), batch_size):
            batch = slice(begin, begin + batch_size)
            results += self._predict(sources[batch], names[batch], channels)
        return Predictions(results, [])

    def _predict(self, sources: list, names: list[str], channels: str) -> list[Any]:
        samples = [
            self[name]._sample(source, channels) for name, source in zip(names, sources)
        ]
        results: list[Any] = [None] * len(names)
        sizes = _by_task([tuple(sample['inputs'].shape) for sample in samples])
        for indices in sizes.values():
            rows = _by_task([names[k] for k in indices])
            data = {}
            for name, positions in rows.items():
                chosen = pseudo_collate([samples[indices[p]] for p in positions])
                data[name] = model_of(self[name]).data_preprocessor(chosen, False)
            shared = {
                name: part['inputs']
                for name, part in data.items()
                if not slides(model_of(self[name]))
            }
            features = self._features(shared)
            for name, positions in rows.items():
                task = self[name]
                with _computed(backbone_of(task), features.get(name)):
                    outputs = model_of(task)(**data[name], mode='predict')
                for p, output in zip(positions, outputs):
                    k = indices[p]
                    results[k] = task._result(sources[k].name, output)
        return results

    def _features(self, inputs: dict[str, Tensor]) -> dict[str, tuple[Tensor, ...]]:
        """Run all backbones on the images of each task."""
        if not inputs:
            return {}
        vits = [backbone_of(self[name]) for name in inputs]
        outs = run_mixed(vits, list(inputs.values()))
        self._used = [n for n in self._used if n not in inputs] + list(inputs)
        while len(self._used) > self.keep:
            backbone_of(self[self._used.pop(0)]).static_prompts.clear()
        return dict(zip(inputs, outs))

    def _share(self, name: str, vit: PromptedVisionTransformer) -> None:
        """Let ``vit`` use the bank's frozen weights in place of its own."""
        others = [backbone_of(task) for task in self._tasks.values()]
        ours, theirs = (v.stored_dtype or torch.float32 for v in (others[0], vit))
        if ours != theirs:
            raise UserError(
                f'task {name!r} keeps frozen weights in {theirs}, the bank in {ours} '
                '(frozen_dtype of the backbone). Serve them from different banks.'
            )
        _check_alike(name, others[0], vit)
        shared: dict[str, nn.Parameter] = {}
        for other in others:
            for key, parameter in _frozen(other):
                shared.setdefault(key, parameter)
        own = {}
        for key, parameter in _frozen(vit):
            found = shared.get(key)
            if found is None:
                continue
            if _equal(parameter, found):
                own[key] = found
            elif key != 'pos_embed' and not key.startswith('ln1.'):
                raise UserError(
                    f'{key} of task {name!r} is not that of {next(iter(self))!r}: they '
                    'are tuned on different weights. Serve them from different banks.'
                )
        for key, parameter in own.items():
            path, _, leaf = key.rpartition('.')
            setattr(vit.get_submodule(path), leaf, parameter)
        for i, layer in enumerate(vit.layers):
            # Modules take memory too: about 1.5 MB in a ViT of 12 layers.
            if _same_parameters(layer, others[0].layers[i]):
                vit.layers[i] = others[0].layers[i]


def model_of(task: Task) -> nn.Module:
    """Return the model of a task."""
    return task.model if isinstance(task, TunedModel) else task


def backbone_of(task: Task) -> PromptedVisionTransformer:
    """Return the backbone of a task."""
    modules = model_of(task).modules()
    found = [m for m in modules if isinstance(m, PromptedVisionTransformer)]
    if len(found) != 1:
        raise UserError(
            f'a task has one PromptedVisionTransformer, this one has {len(found)}.'
        )
    return found[0]


def _frozen(vit: PromptedVisionTransformer) -> Iterator[tuple[str, nn.Parameter]]:
    for name, parameter in vit.named_parameters():
        if not parameter.requires_grad and not set(_OWN) & set(name.split('.')):
            yield name, parameter


def _same_parameters(one: nn.Module, other: nn.Module) -> bool:
    """Whether two layers are one but for their objects, and nobody listens."""
    ours, theirs = list(one.parameters()), list(other.parameters())
    same = len(ours) == len(theirs) and all(map(operator.is_, ours, theirs))
    hooks = any(m._forward_hooks or m._forward_pre_hooks for m in one.modules())
    return same and not hooks


def _equal(one: Tensor, other: Tensor) -> bool:
    kinds = [(t.shape, t.dtype, t.device) for t in (one, other)]
    return one is other or (kinds[0] == kinds[1] and torch.equal(one, other))


def _check_alike(
    name: str, first: PromptedVisionTransformer, vit: PromptedVisionTransformer
) -> None:
    """Refuse a backbone whose modules compute something else with equal weights."""
    ours, theirs = _modules(first), _modules(vit)
    for path in sorted(set(ours) & set(theirs)):
        if ours[path] != theirs[path]:
            raise UserError(
                f'task {name!r} has {path} as {theirs[path]}, the bank has '
                f'{ours[path]}. Serve them from different banks.'
            )


def _modules(vit: PromptedVisionTransformer) -> dict[str, str]:
    return {
        path: f'{type(module).__name__}({module.extra_repr()})'
        for path, module in vit.named_modules()
        if not set(_OWN) & set(path.split('.')) and 'Drop' not in type(module).__name__
    }


def _by_task(tasks: Sequence[Any]) -> dict[Any, list[int]]:
    """Return the positions of each task, tasks in the order they appear."""
    rows: dict[Any, list[int]] = {}
    for k, task in enumerate(tasks):
        rows.setdefault(task, []).append(k)
    return rows


@contextlib.contextmanager
def _computed(
    vit: PromptedVisionTransformer, outs: tuple[Tensor, ...] | None
) -> Iterator[None]:
    """Let ``vit`` return ``outs`` once it is called; with None it runs itself."""
    if outs is None:
        yield
        return
    vit.__dict__['forward'] = lambda inputs: outs
    try:
        yield
    finally:
        del vit.forward


def _pick(found: Any, k: int) -> Any:
    """Return output ``k`` of a batch of outputs."""
    if isinstance(found, (tuple, list)):
        return type(found)(_pick(item, k) for item in found)
    return found[k]
