# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Trials per hour are measured through the commands that users run."""

import pytest

from mmvpt.bench.speed.trials import compare_trials
from tests.engine import miniature


@pytest.mark.sweep
def test_compare_trials(tmp_path, capsys):
    config = miniature.config(miniature.write_data(tmp_path))
    config.model.backbone.prompt = dict(type='DeepPrompt', num_tokens=3, layers=[1])
    pipeline = config.train_dataloader.dataset.pipeline
    config.train_dataloader.dataset.pipeline = [pipeline[0], pipeline[-1]]
    config.dump(tmp_path / 'config.py')
    options = dict(trials=2, repeats=1, out=str(tmp_path / 'trials'))
    result = compare_trials(str(tmp_path / 'config.py'), **options)
    assert result['layers'] == 1
    assert {way: len(found) for way, found in result['seconds'].items()} == dict(
        processes=1, search=1
    )
    assert '1 layers run once for each image' in capsys.readouterr().out
