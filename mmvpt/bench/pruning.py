# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""E^2VPT's procedure: score a trained prompt's masks, prune, train what is left."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor

from mmvpt.apis import load
from mmvpt.display import markdown, print_markdown
from mmvpt.engine.run import load_config, train
from mmvpt.engine.run_config import training_config
from mmvpt.errors import UserError
from mmvpt.models.prompts import KeyValuePrompt, prune_counts

from . import write_json
from .console import console, detail, say

#: What can be pruned, by the names of ``pruned``.
MASKS = {'tokens': 'token_mask', 'segments': 'segment_mask'}


def mask_scores(
    prompt: KeyValuePrompt, losses: Iterable[Tensor], absolute: bool = True
) -> dict[str, Tensor]:
    r"""Return how much the loss depends on what can be pruned.

    :math:`s = \frac1n \sum_b |\partial L_b / \partial \rho|` over n batches, and the
    same for segments, at the values that the masks have.

    Args:
        prompt: The prompt, with masks that train.
        losses: The loss of each batch, a scalar.
        absolute: Whether derivatives count by their size (the paper), or with their
            sign (the released code), so that what would help by growing goes first.

    Returns:
        ``tokens`` (M,) and ``segments`` (M, R), as far as there are masks.

    Raises:
        UserError: If there is no mask that has a gradient, or no batch.
    """
    masks = {kind: getattr(prompt, name) for kind, name in MASKS.items()}
    masks = {k: m for k, m in masks.items() if m is not None and m.requires_grad}
    if not masks:
        raise UserError(
            'this prompt has no mask that trains, so nothing can be scored: build it '
            'with token_mask or num_segments and without pruned.'
        )
    totals, count = {kind: torch.zeros_like(mask) for kind, mask in masks.items()}, 0
    for loss in losses:
        grads = torch.autograd.grad(loss, list(masks.values()))
        for total, grad in zip(totals.values(), grads):
            total += grad.abs() if absolute else grad
        count += 1
    if not count:
        raise UserError('there is no batch to score masks on.')
    return {kind: total.detach() / count for kind, total in totals.items()}


def candidates(
    prompt: KeyValuePrompt,
    scores: dict[str, Tensor],
    min_tokens: int = 1,
    min_segments: int = 4,
) -> dict[tuple[int, int], dict[str, Any]]:
    """Return what is pruned in each run, by the counts of tokens and of segments.

    Args:
        prompt: The prompt; not changed.
        scores: From :func:`mask_scores`.
        min_tokens: Tokens that are kept at least.
        min_segments: Segments of each token that are kept at least.
    """
    counts: dict[str, tuple[int, ...]] = {'tokens': (0,), 'segments': (0,)}
    for kind, minimum in (('tokens', min_tokens), ('segments', min_segments)):
        if kind in scores:
            counts[kind] = prune_counts(scores[kind].shape[-1], minimum)
    found = {}
    for tokens in counts['tokens']:
        for segments in counts['segments']:
            trial = copy.deepcopy(prompt)
            given = (scores.get('tokens'), scores.get('segments'))
            trial.prune(*given, tokens, segments)
            found[tokens, segments] = {
                kind: _zeros(getattr(trial, MASKS[kind])) for kind in scores
            }
    return found


def _zeros(mask: Tensor) -> list:
    """Return the indices of zeros, a list for each row."""
    if mask.dim() == 1:
        return (mask == 0).nonzero().flatten().tolist()
    return [_zeros(row) for row in mask]


def prune(
    config: str | os.PathLike,
    checkpoint: str | os.PathLike,
    work_dir: str | os.PathLike,
    *,
    cfg_options: dict | None = None,
    absolute: bool = True,
    min_tokens: int = 1,
    min_segments: int = 4,
    metric: str = 'accuracy/top1',
    retrain: bool = True,
) -> Path | None:
    """Score, prune by every count, train each anew, and write the best one's config.

    Every run starts from fresh parameters with the masks of its counts, and is judged
    by its last validation; of equals the one with more tokens pruned wins. A run that
    has its ``result.json`` is not repeated, one that was broken off goes on.

    Args:
        config: Config that the checkpoint was trained with.
        checkpoint: The trained prompt with its masks.
        work_dir: Gets ``scores.json``, a folder for each run, and ``pruned.py``.
        cfg_options: Changes to the config, by dotted key.
        absolute: See :func:`mask_scores`.
        min_tokens: Tokens that are kept at least.
        min_segments: Segments of each token that are kept at least.
        metric: Of validation, by which runs are compared; more is better.
        retrain: Train each run; otherwise the configs of the runs alone are written.

    Returns:
        ``pruned.py`` of the best run, None without runs.

    Raises:
        UserError: If the config has no prompt that can be pruned.
    """
    root = Path(work_dir)
    root.mkdir(parents=True, exist_ok=True)
    settings = load_config(str(config), cfg_options or {})
    found = _candidates(settings, checkpoint, root, absolute, min_tokens, min_segments)
    results = {}
    say(f'{len(found)} runs, each with its output in console.log of its folder')
    for n, ((tokens, segments), pruned) in enumerate(found.items(), 1):
        run = copy.deepcopy(settings)
        run.model.backbone.prompt.pruned = pruned
        run.work_dir = str(root / f'tokens-{tokens}_segments-{segments}')
        Path(run.work_dir).mkdir(exist_ok=True)
        run.dump(f'{run.work_dir}/pruned.py')
        if retrain:
            results[tokens, segments] = value = _result(run, metric)
            detail(f'{n} of {len(found)}: {Path(run.work_dir).name}: {value:.2f}')
    if not results:
        return None
    best = max(results, key=lambda key: (results[key], *key))
    chosen = root / 'tokens-{}_segments-{}'.format(*best) / 'pruned.py'
    (root / 'pruned.py').write_text(chosen.read_text(encoding='utf-8'), 'utf-8')
    print_markdown(_table(results, metric))
    say(
        f'best: {results[best]:.2f} with {best[0]} tokens and {best[1]} segments of '
        f'each pruned. Train it: python tools/train.py {root / "pruned.py"} '
        '--work-dir FOLDER'
    )
    return root / 'pruned.py'


def _table(results: dict[tuple[int, int], float], metric: str) -> str:
    """Return figures of the runs, a row for each count of tokens."""
    rows, columns = (sorted(set(counts)) for counts in zip(*results))
    head = [f'{metric}; pruned tokens', *(f'{s} segments' for s in columns)]
    body = [[str(t), *(f'{results[t, s]:.2f}' for s in columns)] for t in rows]
    return markdown([head, *body])


def _candidates(
    settings: Config,
    checkpoint: str | os.PathLike,
    root: Path,
    absolute: bool,
    min_tokens: int,
    min_segments: int,
) -> dict[tuple[int, int], dict[str, Any]]:
    """Score the trained masks, in eval mode over one pass of the training loader."""
    model = load(settings, checkpoint).model
    prompt = getattr(getattr(model, 'backbone', None), 'prompt', None)
    if not isinstance(prompt, KeyValuePrompt):
        raise UserError(
            'only a KeyValuePrompt can be pruned, but model.backbone.prompt is '
            f'{type(prompt).__name__}.'
        )
    loader = training_config(copy.deepcopy(settings)).train_dataloader
    loader = Runner.build_dataloader(
        loader, seed=settings.get('randomness', {}).get('seed')
    )
    prompt.requires_grad_(True)
    losses = (
        model.parse_losses(model(**model.data_preprocessor(batch), mode='loss'))[0]
        for batch in loader
    )
    scores = mask_scores(prompt, losses, absolute)
    written = {kind: values.tolist() for kind, values in scores.items()}
    (root / 'scores.json').write_text(json.dumps(dict(absolute=absolute, **written)))
    return candidates(prompt, scores, min_tokens, min_segments)


def _result(run: Config, metric: str) -> float:
    """Train unless it is done; return the last validation's figure."""
    path = Path(run.work_dir) / 'result.json'
    if not path.exists():
        with console(path.parent):
            runner = train(run, resume='auto')
        history = runner.message_hub.log_scalars
        if f'val/{metric}' not in history:
            known = [n[4:] for n in history if n.startswith('val/')]
            raise UserError(
                f'validation gives no {metric!r}; it gives {", ".join(known)}.'
            )
        write_json(path, {metric: float(history[f'val/{metric}'].current())})
    return json.loads(path.read_text())[metric]
