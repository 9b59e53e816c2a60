# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What the commands of ``tools/analysis`` do: read, save arrays, draw, print."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmvpt.checkpoint import read_checkpoint
from mmvpt.engine.work_dir import list_checkpoints
from mmvpt.errors import UserError

from . import (
    Curve,
    attention_arrays,
    attention_maps,
    drift,
    gates_of_state,
    layer_points,
    pictures,
    place,
    positive_prompts,
    prompt_similarity,
    read_checkpoint_maps,
    read_curves,
    read_history,
    resolve_layer,
    shares,
)
from .command import load_look, save_arrays

_BATCH = 32  # images read together
_COSTS = ('time', 'data_time', 'memory', 'lr', 'base_lr', 'momentum', 'grad_norm')


def attention(
    run: str,
    checkpoint: str | None = None,
    *,
    num: int = 4,
    layer: int | None = None,
    head: int | None = None,
    max_prompts: int = 5,
    out: str = 'attention',
    **how: Any,
) -> None:
    """Save and draw where CLS and prompts attend to in the image.

    Args:
        run: Work dir of a run, a config file, or a released file.
        checkpoint: File or URL [the last one of the work dir].
        num: Images of the split, one of each class in turn.
        layer: Layer of the picture, from 0 or negative from the end [the last guided
            one, or the last].
        head: One head [mean of all].
        max_prompts: Prompts that get a map.
        out: Path without ending of the files.
        **how: Arguments of :func:`mmvpt.analysis.command.load_look`.
    """
    look = load_look(run, checkpoint, num=num, **how)
    shown = look.of_first_size()
    layer = resolve_layer(look.backbone, layer)
    maps = attention_maps(look.model, shown.inputs)
    positive = positive_prompts(look.backbone, layer, shown.classes)
    arrays = dict(
        attention_arrays(maps),
        images=shown.pictures,
        names=np.array(shown.names),
    )
    if shown.classes is not None:
        arrays['classes'] = shown.classes.cpu().numpy()
    if positive is not None:
        arrays[f'positive_{layer}'] = positive.cpu().numpy()
    if maps[0].cls is not None:
        arrays['shares'] = shares(maps)
    path = save_arrays(out, arrays)

    figure = pictures.draw_attention(
        shown.pictures,
        arrays.get(f'cls_{layer}'),
        arrays[f'prompts_{layer}'],
        maps[layer].num_extra,
        maps[layer].grid,
        layer=layer,
        head=head,
        positive=arrays.get(f'positive_{layer}'),
        titles=shown.names,
        max_prompts=max_prompts,
    )
    pictures.save(figure, path)
    if 'shares' not in arrays:
        return
    given = [one.cls_to_prompts().mean((0, 1)).cpu().numpy() for one in maps]
    figure = pictures.draw_shares(arrays['layers'], arrays['shares'], given)
    pictures.save(figure, path.with_name(f'{path.stem}_layers.png'))
    for one, (own, prompts, patches) in zip(maps, arrays['shares']):
        print(
            f'layer {one.layer:2d}  CLS gives {100 * prompts:5.1f} % to prompts, '
            f'{100 * patches:5.1f} % to patches, {100 * own:5.1f} % to itself'
        )


def similarity(
    run: str,
    checkpoint: str | None = None,
    *,
    num: int = 8,
    out: str = 'similarity',
    **how: Any,
) -> None:
    """Save and draw how alike the prompts of all layers are.

    Args:
        run: Work dir of a run, a config file, or a released file.
        checkpoint: File or URL [the last one of the work dir].
        num: Images of the split, one of each class in turn.
        out: Path without ending of the files.
        **how: Arguments of :func:`mmvpt.analysis.command.load_look`.
    """
    look = load_look(run, checkpoint, num=num, **how)
    shown = look.of_first_size()
    arrays = prompt_similarity(look.model, shown.inputs)
    path = save_arrays(out, arrays)

    pictures.save(pictures.draw_similarity(arrays, len(shown.names)), path)
    for i, row in zip(arrays['layers'], arrays['means']):
        print(f'layer {i:2d}  ' + ' '.join(f'{value:6.3f}' for value in row))


def embedding(
    run: str,
    checkpoint: str | None = None,
    *,
    num: int = 100,
    layer: int | None = None,
    space: str = 'query',
    method: str = 'tsne',
    max_patches: int = 400,
    seed: int = 0,
    out: str = 'embedding',
    **how: Any,
) -> None:
    """Save and draw prompts, class means, images and patches of a layer in the plane.

    Args:
        run: Work dir of a run, a config file, or a released file.
        checkpoint: File or URL [the last one of the work dir].
        num: Images of the split, one of each class in turn.
        layer: From 0 or negative from the end [the last guided one, or the last].
        space: Space of the points.
        method: 'tsne', 'umap' or 'pca'.
        max_patches: Patches drawn at most.
        seed: Of the choice of patches and the method.
        out: Path without ending of the files.
        **how: Arguments of :func:`mmvpt.analysis.command.load_look`.

    Raises:
        UserError: If there are no classes.
    """
    if how.get('images'):
        raise UserError('class means need classes: give a split instead of --images')
    look = load_look(run, checkpoint, num=num, **how)
    batches: list[tuple] = []
    for part in look.parts:
        if part.classes is None:
            raise UserError('the images have no labels for class means.')
        batches += zip(part.inputs.split(_BATCH), part.classes.split(_BATCH))
    arrays = layer_points(
        look.model,
        batches,
        layer,
        space,
        max_patches=max_patches,
        seed=seed,
    )
    arrays['places'] = place(arrays['vectors'], method, seed)
    path = save_arrays(out, arrays)

    figure = pictures.draw_embedding(
        arrays, arrays['places'], method, space, look.classes or None
    )
    pictures.save(figure, path)
    print(f'{len(arrays["vectors"])} points of layer {arrays["layer"]} in {path}')


def class_map(
    work_dir: str, *, checkpoints: bool = False, out: str = 'class_map'
) -> None:
    """Save and draw which prompt every class had after each update, and the drift.

    Args:
        work_dir: Work dir of a run.
        checkpoints: Read the checkpoints instead of the history.
        out: Path without ending of the files.
    """
    arrays = (read_checkpoint_maps if checkpoints else read_history)(work_dir)
    maps, num_prompts = arrays['maps'], arrays['sizes'].shape[1]
    moved = drift(maps, num_prompts)
    arrays.update({f'drift_{name}': values for name, values in moved.items()})
    path = save_arrays(out, arrays)

    unit = 'epoch' if 'epochs' in arrays else 'iteration'
    times = arrays['epochs' if unit == 'epoch' else 'iterations']
    names = _class_names(work_dir, maps.shape[1])
    figure = pictures.draw_class_map(maps, moved, num_prompts, times, unit, names)
    pictures.save(figure, path)
    for i, time in enumerate(times):
        sizes = ' '.join(map(str, arrays['sizes'][i]))
        print(
            f'{unit} {time:6d}  moved {100 * moved["as_is"][i]:5.1f} %  '
            f'renumbered {100 * moved["aligned"][i]:5.1f} %  sizes {sizes}'
        )


def curves(
    runs: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    list: bool = False,  # noqa: A002
    seconds: bool = False,
    log: bool = False,
    out: str = 'curves',
) -> None:
    """Save and draw the training curves of several runs.

    Args:
        runs: Work dirs.
        names: Names of the runs [their paths].
        keys: Scalars [loss and the first one of validation].
        list: Only list the scalars.
        seconds: Over seconds of training in place of steps.
        log: Logarithmic axes.
        out: Path without ending of the files.

    Raises:
        UserError: If names are not different, or nothing logged a scalar or times.
    """
    names = names or _names_of(runs)
    if len(names) != len(runs) or len(set(names)) != len(names):
        raise UserError(f'{len(runs)} runs need as many different names, got {names}')
    read = {name: read_curves(run) for name, run in zip(names, runs)}
    logged = [*dict.fromkeys(name for one in read.values() for name in one)]
    if list:
        print('\n'.join(logged))
        return
    keys = keys or _default_keys(read)
    unknown = [key for key in keys if key not in logged]
    if unknown:
        raise UserError(f'no run logged {unknown[0]!r}; logged are {", ".join(logged)}')
    untimed = [
        name
        for name, found in read.items()
        for key in keys
        if key in found and found[key].seconds is None
    ]
    if seconds and untimed:
        raise UserError(
            f'{untimed[0]} logged no times of iterations: leave out --seconds, or keep '
            "default_hooks.logger and timer of a run's config as they are."
        )
    arrays = {}
    for name, found in read.items():
        for key, curve in found.items():
            # A slash would become a folder in the file.
            base = f'{name}|{key}'.replace('/', '.')
            arrays[f'{base}|steps'] = curve.steps
            arrays[f'{base}|values'] = curve.values
            if curve.seconds is not None:
                arrays[f'{base}|seconds'] = curve.seconds
    path = save_arrays(out, arrays)

    pictures.save(pictures.draw_curves(read, keys, log, seconds), path)
    for key in keys:
        for name, found in read.items():
            if key in found:
                curve = found[key]
                print(
                    f'{key}  {name}: {curve.values[-1]:.4g} after '
                    f'{curve.steps[-1]} {curve.unit}s'
                )


def gates(checkpoint: str, *, out: str = 'gates') -> None:
    """Save and draw which layers' prompts a Gated Prompt Tuning model selects.

    Args:
        checkpoint: A tuned model, file or URL, or a work dir (the last one).
        out: Path without ending of the files.
    """
    if Path(checkpoint).is_dir() and list_checkpoints(checkpoint):
        checkpoint = str(list_checkpoints(checkpoint)[-1])
    state = read_checkpoint(checkpoint)
    arrays = gates_of_state(state.get('state_dict', state), checkpoint)
    path = save_arrays(out, arrays)

    pictures.save(pictures.draw_gates(arrays), path)
    count = max(map(len, arrays.values()))
    for i in range(count):
        line = f'layer {i:2d}'
        if 'temperatures' in arrays:
            line += f'  temperature {arrays["temperatures"][i]:.4f}'
        if i < len(arrays.get('gates', ())):
            line += (
                f'  gate behind it {arrays["gates"][i]:.6f}  '
                f'selection ratio {arrays["selection_ratio"][i]:.4f}'
            )
        print(line)


def _default_keys(runs: Mapping[str, Mapping[str, Curve]]) -> list[str]:
    """Return the loss, and what validation measured first of all."""
    names = [name for curves in runs.values() for name in curves]
    keys = [name for name in names if name == 'loss'][:1]
    measured = [
        name
        for name in names
        if 'loss' not in name
        and name not in _COSTS
        and not name.startswith(('val/', 'prompt/', 'mapping/'))
    ]
    keys += measured[:1]
    return keys or names[:1]


def _names_of(folders: Sequence[str]) -> list[str]:
    """Return short different names: paths without what all have in common."""
    paths = [os.path.abspath(folder) for folder in folders]
    if len(paths) == 1:
        return [os.path.basename(paths[0])]
    base = os.path.commonpath(paths)
    names = [os.path.relpath(path, base) for path in paths]
    last = [os.path.basename(name) for name in names]
    if len(set(last)) == 1 and all(name != last[0] for name in names):
        names = [os.path.dirname(name) for name in names]
    return names


def _class_names(work_dir: str, count: int) -> list[str] | None:
    """Return the names of the classes from a checkpoint of a run, if they are there."""
    saved = list_checkpoints(work_dir)
    meta = read_checkpoint(saved[-1]).get('meta', {}) if saved else {}
    names = (meta.get('dataset_meta') or {}).get('classes') or ()
    return [str(name) for name in names] if len(names) == count else None
