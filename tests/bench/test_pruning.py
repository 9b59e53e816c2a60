# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""E^2VPT's scores against the authors' figures, and the whole procedure in small."""

import json
import re

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

from mmvpt.bench.pruning import candidates, mask_scores
from mmvpt.engine import run as engine
from mmvpt.errors import UserError
from tests.engine import miniature
from tests.models.prompts.test_key_value import GOLDEN, META, build
from tools import prune as tool


def losses(vit):
    """Yield the loss of each released batch."""
    weight, bias = GOLDEN['rank/head.weight'], GOLDEN['rank/head.bias']
    for s in range(3):
        logits = F.linear(vit(GOLDEN[f'rank/images_{s}'])[0], weight, bias)
        yield F.cross_entropy(logits, GOLDEN[f'rank/labels_{s}'].long())


@pytest.mark.parametrize('kind', ['sup', 'moco', 'mae'])
def test_golden_scores_and_candidates(kind):
    vit = build(f'{kind}_deep')
    scores = mask_scores(vit.prompt, losses(vit), absolute=False)
    for name, score in scores.items():
        expected = GOLDEN[f'rank/{kind}/{name[:-1]}_importance']
        torch.testing.assert_close(score, expected, rtol=1e-9, atol=1e-12)
    found = candidates(vit.prompt, scores, META['min_tokens'], META['min_segments'])
    totals = META['totals']
    assert list(found) == [(t, s) for t in totals['tokens'] for s in totals['segments']]
    for (tokens, segments), pruned in found.items():
        masks = GOLDEN[f'rank/{kind}/token_masks'][totals['tokens'].index(tokens)]
        assert pruned['tokens'] == (masks == 0).nonzero().flatten().tolist()
        masks = GOLDEN[f'rank/{kind}/segment_masks'][totals['segments'].index(segments)]
        rows = [(row == 0).nonzero().flatten().tolist() for row in masks]
        assert pruned['segments'] == rows
    sizes = mask_scores(vit.prompt, losses(vit))
    assert all(
        (sizes[name] >= score.abs() - 1e-12).all() for name, score in scores.items()
    )


def test_frozen_masks_are_refused():
    vit = build('sup_deep_pruned')
    with pytest.raises(UserError, match='no mask that trains'):
        mask_scores(vit.prompt, losses(vit))
    with pytest.raises(UserError, match='no batch'):
        mask_scores(build('sup_deep').prompt, [])


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Train a miniature with masks; return its config and checkpoint."""
    root = tmp_path_factory.mktemp('prune')
    prompt = dict(
        _delete_=True,
        type='KeyValuePrompt',
        num_tokens=3,
        num_key_values=2,
        num_segments=8,
    )
    path = miniature.write_config(
        root, model__backbone__prompt=prompt, train_cfg__max_epochs=1
    )
    engine.train(str(path), work_dir=str(root / 'trained'))
    return path, root / 'trained' / 'epoch_1.pth'


def test_procedure(trained, tmp_path, capfd):
    config, checkpoint = trained
    argv = [str(config), str(checkpoint), '--work-dir', str(tmp_path)]
    argv += ['--min-tokens', '2', '--min-segments', '6']
    best = tool.main(argv)
    shown = capfd.readouterr().out
    assert '6 of 6: tokens-1_segments-2: ' in shown
    assert (tmp_path / 'tokens-0_segments-0/console.log').exists()
    assert re.search(r'\n\| 1 +\|( [\d.]+ +\|){3}\n', shown)
    runs = sorted(path.parent.name for path in tmp_path.glob('*/result.json'))
    expected = [f'tokens-{t}_segments-{s}' for t in (0, 1) for s in (0, 1, 2)]
    assert runs == expected
    figures = {
        name: json.loads((tmp_path / name / 'result.json').read_text())['accuracy/top1']
        for name in runs
    }
    pruned = Config.fromfile(best).model.backbone.prompt.pruned
    counts = len(pruned.tokens), len(pruned.segments[0])
    assert figures[f'tokens-{counts[0]}_segments-{counts[1]}'] == max(figures.values())
    state = torch.load(tmp_path / runs[-1] / 'epoch_1.pth', weights_only=False)
    mask = state['state_dict']['backbone.prompt.segment_mask']
    assert mask.sum(1).tolist() == [6, 6, 6]
    scores = json.loads((tmp_path / 'scores.json').read_text())
    assert scores['absolute'] and min(scores['tokens']) >= 0
    before = (tmp_path / runs[0] / 'result.json').stat().st_mtime_ns
    assert tool.main(argv) == best
    assert (tmp_path / runs[0] / 'result.json').stat().st_mtime_ns == before
