# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Config files that cannot be read are named with the line; options take effect."""

import re

import pytest

from mmvpt.engine.config_file import load_config
from mmvpt.errors import UserError

# The file, what is in it, and what is said.
BROKEN = {
    'encoding': ('a.py', b'x = 1\n# caf\xe9\n', 'a.py, line 2: byte 0xe9 is not UTF-8'),
    'UTF-16': ('a.json', '{}'.encode('utf-16'), 'a.json, line 1: byte 0xff'),
    'mark': ('a.py', '\ufeffx = 1\n', 'line 1: it begins with a byte order mark'),
    'syntax': (
        'a.py',
        'x = 1\ny = dict(\n',
        'a.py, line 2: not valid Python: .*closed',
    ),
    'name': ('a.py', 'x = 1\ny = num_clases\n', "line 2: NameError: .*'num_clases'"),
    'exit': ('a.py', 'import sys\nsys.exit(3)\n', 'a.py, line 2: SystemExit: 3'),
    'comma': ('a.json', '{"x": 1,\n}', 'a.json, line 2: JSONDecodeError'),
    'YAML': ('a.yaml', 'x:\n  y: 1\n z: 2\n', 'a.yaml, line 3: ParserError'),
    'no fields': ('a.json', '[1]', 'a.json: it must hold fields'),
    'no text': ('a.yaml', '', 'a.yaml: it must hold fields'),
    'import': (
        'a.py',
        "_base_ = 'b.py'\nimport nox\n",
        'line 2: import of nox: .*no such',
    ),
    'call': ('a.py', 'import numpy\nx = numpy.ones(3)\n', 'calls what it imports'),
    'base': ('a.py', "_base_ = 'gone.py'\n", r'gone\.py of its _base_ does not exist'),
    'base folder': ('a.py', "_base_ = '../a'\n", '/a of its _base_ does not exist'),
    'base of bytes': ('a.py', '_base_ = 3\n', '_base_ must be the path'),
    'base of base': ('a.py', "_base_ = 'a.py'\n", 'a.py: its _base_ leads back'),
    'base with a mistake': (
        'a.py',
        "_base_ = 'c.py'\n",
        r'c\.py, line 3: ZeroDivision',
    ),
    'same key twice': ('a.py', "_base_ = ['b.py', 'd.py']\n", "Duplicate.*'seed'"),
}


@pytest.mark.parametrize('case', BROKEN)
def test_what_cannot_be_read(tmp_path, case):
    name, content, words = BROKEN[case]
    folder = tmp_path / 'a'
    folder.mkdir()
    for base, text in (
        ('b', 'seed = 1\n'),
        ('c', '\n\nx = 1 / 0\n'),
        ('d', 'seed = 2\n'),
    ):
        (folder / f'{base}.py').write_text(text)
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        load_config(path)
    text = str(error.value)
    assert text.startswith(f'config {path}: ') and re.search(words, text), text


def test_places_of_files(tmp_path):
    for path, words in ((tmp_path, 'is a folder'), (tmp_path / 'x.py', 'not exist')):
        with pytest.raises(UserError, match=words):
            load_config(path)


def test_paths_become_text(tmp_path):
    path = tmp_path / 'a.py'
    path.write_text(
        'from pathlib import Path\n'
        "model = dict(init_cfg=dict(checkpoint=Path('vit.pth')), all=[Path('x')])\n"
    )
    config = load_config(path)
    assert config.model == dict(init_cfg=dict(checkpoint='vit.pth'), all=['x'])


VARIABLES = """
data_root, lr, num_classes = 'data', 0.1, 3
steps = [dict(type='LoadImageFromFile')]
model = dict(
    head=dict(num_classes=num_classes),
    data_preprocessor=dict(mean=[0]),
)
data_preprocessor = dict(mean=[0])
optim_wrapper = dict(optimizer=dict(lr=lr))
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=steps))
"""


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'data_root': 'b'}, 'would change nothing. .*train_dataloader.dataset.data_r'),
        ({'lr': 1}, 'Set what it went into: optim_wrapper.optimizer.lr'),
        ({'num_classes': 5}, 'went into: model.head.num_classes'),
        ({'steps.0.type': 'X'}, 'went into: train_dataloader.dataset.pipeline'),
        ({'data_preprocessor.mean': [1]}, 'Set model.data_preprocessor.mean'),
        ({'train_dataloder.batch_size': 1}, "Did you mean 'train_dataloader'"),
        ({'train_dataloader.dataset.pipeline.4.x': 1}, 'does not fit the config'),
        ({'model.head.num_classes': 5}, None),
    ],
)
def test_options_take_effect_or_are_refused(tmp_path, options, words):
    path = tmp_path / 'a.py'
    path.write_text(VARIABLES)
    if words is None:
        assert load_config(path, options).model.head.num_classes == 5
        return
    with pytest.raises(UserError, match=words):
        load_config(path, options)
