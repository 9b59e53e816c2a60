# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What a session tells of itself."""

from types import SimpleNamespace

from mmvpt.bench.console import show_settings, time_left


def test_settings_are_short():
    settings = {
        'optim_wrapper.optimizer.lr': 0.01414213562373095,
        'weight_decay': 1e-05,
        'model.backbone.prompt.num_tokens': 10,
        'betas': (0.9, 0.98765),
        'type': 'SGD',
        'deep': True,
        'init': None,
    }
    assert show_settings(settings) == (
        'lr=0.01414, weight_decay=1e-05, num_tokens=10, betas=[0.9, 0.9877], type=SGD, '
        'deep=True, init=None'
    )
    assert show_settings({}) == ''


def test_the_time_that_is_left():
    def source(total, done, seconds, over=False):
        return SimpleNamespace(total=total, done=done, seconds=seconds, over=over)

    assert time_left([], 2) == ''
    assert time_left([source(4, 0, [])], 2) == '', 'nothing is known'
    sources = [
        source(24, 4, [50.0, 70.0]),  # 20 x 60
        source(10, 2, [100.0]),  # 8 x 100
        source(4, 0, []),  # 4 x the mean of all, 73.3
        source(9, 1, [500.0], over=True),  # failed
    ]
    known = (50 + 70 + 100 + 500) / 4
    minutes = (1200 + 800 + 4 * known) / 2 / 60
    assert time_left(sources, 2) == f', about {minutes:.0f} min left'
    assert time_left([source(3, 3, [5.0], over=True)], 2) == ''
