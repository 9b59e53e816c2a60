# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""DA-VPT's map from classes to prompts, and how it moves while training runs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmvpt.checkpoint import read_checkpoint
from mmvpt.errors import MissingFileError, UserError

HISTORY = 'class_to_prompt.jsonl'
_BUFFER = 'prompt.class_to_prompt'


def read_history(folder: str | Path) -> dict[str, np.ndarray]:
    """Read the history that ``SemanticMappingHook`` wrote, one row for each update.

    A resumed run has several files; what it did again counts once.

    Args:
        folder: Work dir of a run, or a folder in it.

    Returns:
        ``iterations`` (U,) in which the map was made, ``epochs`` (U,) complete then,
        if all updates came at the ends of epochs, ``maps`` (U, K) and ``sizes`` (U, M),
        classes of each prompt.

    Raises:
        MissingFileError: If there is no history.
        UserError: If a history is empty or not what the hook writes.
    """
    files = sorted(Path(folder).rglob(HISTORY))
    if not files:
        raise MissingFileError(
            f'no {HISTORY} in {str(folder)!r}: give the work dir of a run with '
            'SemanticMappingHook whose map is not fixed.'
        )
    by_iteration = {}
    for file in files:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            try:
                row = json.loads(line)
                by_iteration[row['iter']] = (row['epoch'], row['map'], row['sizes'])
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f'{file}, line {number} is no row of a history ({error!r}). Remove '
                    'the line, which a killed run may have left incomplete.'
                ) from error
    if not by_iteration:
        raise UserError(f'{files[0]} is empty: the map was never made.')
    iterations = sorted(by_iteration)
    epochs, maps, sizes = zip(*(by_iteration[i] for i in iterations))
    arrays = dict(
        iterations=np.array(iterations), maps=np.array(maps), sizes=np.array(sizes)
    )
    if _at_ends_of_epochs(iterations, epochs):
        # The hook counts the epochs before the one that ends.
        arrays['epochs'] = np.array([e + (i > 0) for i, e in zip(iterations, epochs)])
    return arrays


def _at_ends_of_epochs(iterations: Sequence[int], epochs: Sequence[int]) -> bool:
    """Tell whether all updates came after whole epochs of one length."""
    lengths = {i / (e + 1) for i, e in zip(iterations, epochs) if i}
    return len(lengths) == 1 and len(iterations) > 2


def read_checkpoint_maps(folder: str | Path) -> dict[str, np.ndarray]:
    """Read the maps in the checkpoints of a run, one row for each checkpoint.

    Args:
        folder: Work dir of a run with ``epoch_*.pth`` or ``iter_*.pth``.

    Returns:
        As :func:`read_history`; only one of ``iterations`` and ``epochs`` is known from
        a file's name, the other one is not there.

    Raises:
        MissingFileError: If there is no such checkpoint.
        UserError: If one has no map.
    """
    numbered = {}
    for file in Path(folder).glob('*.pth'):
        match = re.fullmatch(r'(epoch|iter)_(\d+)\.pth', file.name)
        if match:
            numbered[match[1], int(match[2])] = file
    if not numbered:
        raise MissingFileError(
            f'no epoch_*.pth or iter_*.pth in {str(folder)!r}: give the work dir of a '
            'run that saved checkpoints.'
        )
    order = sorted(numbered)
    maps, sizes = zip(*(checkpoint_map(numbered[key]) for key in order))
    unit = 'epochs' if order[0][0] == 'epoch' else 'iterations'
    return {
        unit: np.array([number for _, number in order]),
        'maps': np.array(maps),
        'sizes': np.array(sizes),
    }


def checkpoint_map(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the map of one checkpoint.

    Args:
        path: The file.

    Returns:
        The map (K,) and the number of classes of each prompt (M,).

    Raises:
        UserError: If it has none, or the map was never made.
    """
    state = read_checkpoint(path)
    state = state.get('state_dict', state)
    keys = [k for k in state if k == _BUFFER or k.endswith(f'.{_BUFFER}')]
    if len(keys) != 1:
        raise UserError(
            f'{path} has {len(keys)} {_BUFFER}: it is no model of '
            'DistributionAwarePrompt.'
        )
    found = state[keys[0]].cpu().numpy()
    centroids = state.get(keys[0].replace('class_to_prompt', 'centroids'))
    num_prompts = found.max() + 1 if centroids is None else len(centroids)
    if (found < 0).any():
        raise UserError(f'{path}: its map was never made.')
    return found, np.bincount(found, minlength=num_prompts)


def drift(maps: np.ndarray, num_prompts: int) -> dict[str, np.ndarray]:
    r"""Return which share of the classes changed its prompt from one map to the next.

    ``as_is`` compares the numbers of prompts, :math:`\mathrm{mean}_c [\phi_t(c) \ne
    \phi_{t-1}(c)]`: what the metric loss sees, since a number is a prompt. ``aligned``
    is the least share over all renumberings :math:`\pi` of the prompts,
    :math:`\min_\pi \mathrm{mean}_c [\pi(\phi_t(c)) \ne \phi_{t-1}(c)]`: how much the
    groups themselves changed. ``from_first`` compares with the first map, as is.

    Args:
        maps: (U, K), no entry negative.
        num_prompts: M.

    Returns:
        Each (U,), 0 in the first row.
    """
    from scipy.optimize import linear_sum_assignment

    def aligned(old: np.ndarray, new: np.ndarray) -> float:
        common: np.ndarray = np.zeros((num_prompts, num_prompts), dtype=int)
        np.add.at(common, (old, new), 1)
        rows, columns = linear_sum_assignment(common, maximize=True)
        return 1 - common[rows, columns].sum() / len(old)

    pairs = list(zip(maps[:-1], maps[1:]))
    return dict(
        as_is=np.array([0.0, *(np.mean(old != new) for old, new in pairs)]),
        aligned=np.array([0.0, *(aligned(old, new) for old, new in pairs)]),
        from_first=(maps != maps[0]).mean(axis=1),
    )
