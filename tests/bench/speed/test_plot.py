# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The benchmark's plots show what its files hold."""

import dataclasses
import json

import pytest

from mmvpt.bench.speed import plot
from mmvpt.bench.speed.subjects import Setting
from mmvpt.errors import UserError
from tests.tools.programs import load_tool


def test_plot(tmp_path):
    files = []
    for size in (32, 64):
        groups = []
        for mode, count in (('train', 2), ('train', 3), ('infer', 3)):
            setting = Setting(mode=mode, image_size=size, num_tokens=count)
            rows = [
                dict(subject=name, operations=size * count * factor)
                for factor, name in enumerate(('vpt-deep', 'bare'), 1)
            ]
            groups.append(dict(setting=dataclasses.asdict(setting), rows=rows))
        files.append(str(tmp_path / f'{size}.json'))
        (tmp_path / f'{size}.json').write_text(json.dumps(dict(groups=groups)))
    options = ['--image-size', '64', '--num-tokens', '3', '--folder', str(tmp_path)]
    tool = load_tool('speed/plot')
    written = tool.main([*files, *options])
    assert [path.name for path in written] == ['prompts.png', 'patches.png']
    assert all(path.stat().st_size > 5000 for path in written)

    only = tool.main([files[0], '--image-size', '32', '--folder', str(tmp_path)])
    assert [path.name for path in only] == ['prompts.png']
    with pytest.raises(UserError, match='nothing to draw'):
        tool.main([files[0], '--folder', str(tmp_path)])


def test_points():
    rows = [
        dict(subject='full', memory=dict(before=10, peak=30)),
        dict(subject='full', processor=dict(median=2.0, least=1.0)),
        dict(subject='bare', processor=dict(median=2.0, least=1.5)),
    ]
    groups = [dict(setting=dict(num_tokens=5), rows=rows)]

    def points(value):
        place = lambda setting: setting['num_tokens']  # noqa: E731
        return list(plot.points_of(groups, 'full', value, place))

    assert points('memory') == [(5, 20)]
    assert points('processor') == [(5, 1.0)]
    assert points('operations') == []
