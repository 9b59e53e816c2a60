# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Tuned models as one graph, for ONNX runtimes and ``torch.export``."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mmvpt.checkpoint.config_data import to_data, without_paths
from mmvpt.errors import UserError, needed
from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.models.vit.loading import resize_positions
from mmvpt.models.vit.serving import fold_static_prompts
from mmvpt.version import __version__

from .many_tasks import backbone_of
from .tuned_model import TunedModel

FORMATS = ('onnx', 'torch')
#: Key of the metadata of an ONNX file, and name of the extra file of ``torch.export``.
METADATA = 'mmvpt.json'
#: Batch sizes that are compared with PyTorch, and how far outputs may differ.
CHECKED_BATCHES = (1, 2, 5)
TOLERANCE = 1e-4
#: How weights may be stored; computations are in float32.
DTYPES = dict(float32=torch.float32, float16=torch.float16, bfloat16=torch.bfloat16)


class ExportError(UserError, RuntimeError):
    """A model that cannot be written as a graph; the message says what to do."""


class _Widened(nn.Module):
    """Gives weights of half precision in float32, in which everything is computed."""

    def forward(self, stored: Tensor) -> Tensor:
        return stored.float()


class Graph(nn.Module):
    """What is exported: normalised images (B, 3, H, W) to logits.

    A classifier gives (B, K). A segmentor gives (B, K, h, w) as its decode head does,
    before they are resized to the image.

    Args:
        model: A classifier of mmpretrain or a segmentor of mmseg; copied.
        dtype: Key of ``DTYPES``: how weights with two or more axes are stored.
        any_size: Whether a traced graph is for images of every size.
    """

    def __init__(
        self, model: nn.Module, dtype: str = 'float32', any_size: bool = False
    ) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        if dtype != 'float32':  # first: what is folded comes from these weights
            _narrow(self.model, DTYPES[dtype])
        for module in self.model.modules():
            if isinstance(module, PromptedVisionTransformer):
                _fold(module)
                if any_size and module.pos_embed is not None:
                    positions = partial(_positions, module)
                    module.positions = positions  # type: ignore[method-assign]

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return self.model(images)


def _positions(vit: PromptedVisionTransformer, grid: tuple[int, int]) -> Tensor:
    """Return the positions of any grid, without asking which it is."""
    mode, extra = vit.interpolate_mode, int(vit.with_cls_token)
    return resize_positions(
        vit.pos_embed, vit.patch_resolution, grid, mode, extra, shortcut=False
    )


def _narrow(model: nn.Module, dtype: torch.dtype) -> None:
    """Store the large weights in half precision."""
    for module in list(model.modules()):
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.dim() > 1 and weight.dtype is torch.float32:
                setattr(module, name, nn.Parameter(weight.to(dtype), False))
                parametrize.register_parametrization(
                    module, name, _Widened(), unsafe=True
                )


@torch.no_grad()
def _fold(vit: PromptedVisionTransformer) -> None:
    """Put static prompts into keys and values, and tuned parts into whole biases."""
    for layer in vit.layers:
        if hasattr(layer.attn, 'tuned_bias'):
            bias = nn.Parameter(layer.attn.qkv_bias, requires_grad=False)
            del layer.attn.tuned_bias
            layer.attn.qkv.bias = bias
    fold_static_prompts(vit)


def export(
    task: TunedModel,
    path: str | os.PathLike,
    format: str = 'onnx',
    size: tuple[int, int] | None = None,
    check: bool = True,
    dtype: str = 'float32',
    opset: int | None = None,
    any_size: bool = False,
) -> dict[str, Any]:
    """Write a tuned model as one graph for any number of images of one size, or any.

    Static prompts are folded into keys and values, so the graph holds no trace of how
    they were made; generated ones (VAPT) are part of it.

    Args:
        task: What :func:`mmvpt.load` returns. A copy on the CPU is exported.
        path: The file, ``.onnx`` or ``.pt2``.
        format: ``onnx`` (opset of the installed PyTorch) or ``torch``
            (``torch.export.save``).
        size: Height and width of the images in pixels, by default those that the model
            was trained with.
        check: Run the file at several batch sizes and compare it with PyTorch; ONNX
            needs onnxruntime for that.
        dtype: How weights are stored: ``float32``, ``float16`` or ``bfloat16``; the
            latter take half the space and are computed with in float32.
        opset: Of ONNX, by default that which the installed PyTorch writes.
        any_size: Let height and width be any multiples of the patch size, at least two
            patches each; ``size`` is then what is traced.

    Returns:
        The metadata that went into the file; if checked ``largest_difference`` from
        PyTorch with these weights, and for ``dtype`` of half precision
        ``rounding``, how far logits move by storing weights so.

    Raises:
        ExportError: If a package is missing, the model cannot be traced, or the file
            computes something else. No file is left then.
    """
    path = Path(path)
    ending = {'onnx': '.onnx', 'torch': '.pt2'}.get(format)
    if ending is None:
        raise ExportError(f'format must be one of {FORMATS}, got {format!r}.')
    if tuple(map(int, torch.__version__.split('.')[:2])) < (2, 5):
        raise ExportError(
            f'export needs PyTorch 2.5 or newer, this is {torch.__version__}.'
        )
    if path.suffix != ending:
        raise ExportError(f'{path} must end in {ending} for format {format!r}.')
    if not path.parent.is_dir():
        raise ExportError(f'{path.parent} is no folder; make it first.')
    if dtype not in DTYPES:
        raise ExportError(f'dtype must be one of {", ".join(DTYPES)}, got {dtype!r}.')
    if opset is not None and format != 'onnx':
        raise ExportError('opset is for format onnx.')
    model = copy.deepcopy(task.model).cpu().float()  # as frozen_dtype rounded them
    graph = Graph(model, dtype, any_size)
    vit = backbone_of(graph.model)
    shape = tuple(vit.img_size if size is None else size)
    patch = tuple(vit.patch_embed.projection.stride)
    images = _examples(vit, shape, 2)
    logits = graph(images)
    facts = dict(describe(task, shape, logits), weights=dtype)
    sizes = [shape]
    if any_size:
        facts['input']['shape'][2:] = ['height', 'width']
        facts['input']['multiples_of'] = patch
        facts['output']['shape'][2:] = ['rows', 'columns'][: logits.dim() - 2]
        if facts['output']['resize']:
            facts['output']['resize'] = 'bilinear to height and width'
        (height, width), (rows, columns) = shape, patch
        sizes += [(height + rows, width + 2 * columns), (2 * rows, 3 * columns)]
    if dtype != 'float32':
        facts['rounding'] = _difference(Graph(model)(images), logits)
    unfinished = path.with_name(f'.{path.name}.part{ending}')
    try:
        program = _trace(graph, images, patch if any_size else None)
        if format == 'onnx':
            _write_onnx(program, unfinished, facts, opset)
        else:
            notes = {METADATA: json.dumps(facts)}
            torch.export.save(program, unfinished, extra_files=notes)
        if check:
            run = _run(unfinished)
            reference = Graph(model, dtype) if any_size else graph
            facts['largest_difference'] = max(
                _compare(reference, run, vit, size) for size in sizes
            )
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return facts


def describe(task: TunedModel, size: Sequence[int], logits: Tensor) -> dict[str, Any]:
    """Return what must be known around the graph, as JSON can hold it.

    Args:
        task: The model.
        size: Height and width of the images.
        logits: Output for some images.
    """
    preprocessor = task.model.data_preprocessor
    means = {
        key: getattr(preprocessor, key).flatten().tolist()
        for key in ('mean', 'std')
        if getattr(preprocessor, key, None) is not None
    }
    loader = task.config.get('test_dataloader') or {}
    pipeline = (loader.get('dataset') or {}).get('pipeline')
    rgb = any(  # the names that mmpretrain, mmseg and mmengine have for it
        getattr(preprocessor, name, False)
        for name in ('to_rgb', 'channel_conversion', '_channel_conversion')
    )
    meaning = task.meaning
    return dict(
        format_version=1,
        mmvpt=__version__,
        kind=meaning.kind,
        input=dict(
            name='images',
            shape=[
                'batch',
                backbone_of(task).patch_embed.projection.in_channels,
                *size,
            ],
            dtype='float32',
            range='0 to 255, then minus mean, divided by std' if means else None,
            channel_order='rgb' if rgb else 'bgr',
            **means,
        ),
        pipeline=without_paths(to_data(pipeline or task.config.get('test_pipeline'))),
        output=dict(
            name='logits',
            shape=['batch', *logits.shape[1:]],
            scores=meaning.in_words(),
            activation=meaning.scores,
            threshold=meaning.threshold,
            topk=meaning.topk,
            resize=(
                f'bilinear to {tuple(size)}' if meaning.kind == 'segmentation' else None
            ),
        ),
        classes=list(task.class_names),
        frozen_weights=[str(mark) for mark in task.tuned.frozen.values()],
    )


def read_metadata(path: str | os.PathLike) -> dict[str, Any]:
    """Return what :func:`export` noted in a file.

    Raises:
        ExportError: If there is nothing.
    """
    path = Path(path)
    if path.suffix == '.onnx':
        import onnx

        model = onnx.load(path, load_external_data=False)
        found = {entry.key: entry.value for entry in model.metadata_props}
    else:
        found = {METADATA: ''}
        torch.export.load(path, extra_files=found)
    if not found.get(METADATA):
        raise ExportError(f'{path} was not written by mmvpt.')
    return json.loads(found[METADATA])


def _examples(
    vit: PromptedVisionTransformer, size: tuple[int, ...], count: int
) -> Tensor:
    channels = vit.patch_embed.projection.in_channels
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, channels, *size, generator=generator)


def _write_onnx(
    traced: torch.export.ExportedProgram,
    path: Path,
    facts: dict[str, Any],
    opset: int | None,
) -> None:
    with needed('ONNX needs two packages: pip install onnx onnxscript', ExportError):
        import onnxscript  # noqa: F401
    program = torch.onnx.export(
        traced,
        input_names=['images'],
        output_names=['logits'],
        dynamo=True,
        verbose=False,
        opset_version=opset,
        # which would widen the weights for good
        optimize=facts['weights'] == 'float32',
    )
    facts['opset'] = int(program.model.opset_imports[''])
    program.model.metadata_props[METADATA] = json.dumps(facts)
    program.save(path, external_data=False)


def _run(path: Path) -> Callable[[Tensor], Tensor]:
    """Return what runs a file."""
    if path.suffix == '.pt2':
        return torch.export.load(path).module()
    message = (
        'comparing the file with PyTorch needs onnxruntime: pip install onnxruntime, '
        'or leave the check out (--no-check).'
    )
    with needed(message, ExportError):
        import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    return lambda x: torch.from_numpy(session.run(None, {'images': x.numpy()})[0])


def _trace(
    graph: Graph, images: Tensor, patch: tuple[int, int] | None
) -> torch.export.ExportedProgram:
    """Trace a graph for any batch; with a patch size for any multiples of it."""
    free: dict[int, Any] = {0: torch.export.Dim('batch', min=1, max=65536)}
    if patch is not None:
        rows = torch.export.Dim('rows', min=2, max=1024)
        columns = torch.export.Dim('columns', min=2, max=1024)
        free |= {2: patch[0] * rows, 3: patch[1] * columns}
    try:
        with torch.no_grad():
            return torch.export.export(
                graph, (images,), dynamic_shapes=(free,), strict=False
            )
    except Exception as error:  # whatever the tracer meets, the reader is told where
        reason = str(error).strip().splitlines()
        raise ExportError(
            f'the model cannot be written as one graph: {reason[0] if reason else ""} '
            f'({type(error).__name__}). Image size, patch size and prompts must not '
            'depend on what is in an image, and for any size not on the size.'
        ) from error


@torch.no_grad()
def _compare(
    graph: Graph,
    run: Callable[[Tensor], Tensor],
    vit: PromptedVisionTransformer,
    size: tuple[int, ...],
) -> float:
    """Return the largest difference of logits, relative to the largest if above 1."""
    largest = 0.0
    for count in CHECKED_BATCHES:
        images = _examples(vit, size, count)
        expected = graph(images)
        try:
            found = run(images)
        except Exception as error:  # a guard of the trace, or a fixed shape
            raise ExportError(
                f'the file cannot take images of {size[0]} x {size[1]} pixels: this '
                f'model depends on the size it was traced with ({error}). Export it '
                'for one size.'
            ) from error
        if expected.shape != found.shape:
            raise ExportError(
                f'the file gives {tuple(found.shape)} for {count} images, PyTorch '
                f'{tuple(expected.shape)}.'
            )
        largest = max(largest, _difference(expected, found))
    if not largest <= TOLERANCE:
        raise ExportError(
            f'the file computes something else than PyTorch: logits differ by '
            f'{largest:.1e}, more than {TOLERANCE:.0e}.'
        )
    return largest


def _difference(expected: Tensor, found: Tensor) -> float:
    """Return the largest difference, relative to the largest value if above 1."""
    scale = max(1.0, float(expected.abs().max()))
    return float((expected - found).abs().max()) / scale
