# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Which config a method, a backbone and a task have."""

from pathlib import Path

import pytest

from tools.harness.space_keys import check_keys
from tools.harness.suites import FILES, ROOT, Cell, load_suite, names


@pytest.mark.parametrize(
    'name, count',
    [('fgvc', 5), ('vtab', 19), ('vtab-natural', 7), ('vtab-specialized', 4)],
)
def test_suites_of_the_zoo(name, count):
    suite = load_suite(name, ['vpt-deep', 'vapt'], 'vit-b_in21k')
    assert len(suite.tasks) == count and len(suite.cells) == 2 * count
    assert all((ROOT / cell.config).is_file() for cell in suite.cells.values())
    assert {cell.group for cell in suite.cells.values()} <= {
        *('fgvc', 'natural', 'specialized', 'structured')
    }


def test_a_backbone_without_configs_of_its_own():
    suite = load_suite('vtab-natural', ['davpt'], 'vit-b_in21k', ['vtab-dtd'])
    cell = suite.cells['davpt', 'vtab-dtd']
    assert 'augreg-in21k_vtab-dtd' in cell.config
    assert cell.options == {
        'model.backbone.init_cfg.checkpoint': 'mmvpt://vit-base-p16_in21k'
    }
    own = load_suite('vtab-natural', ['davpt'], 'vit-b_augreg-in21k', ['vtab-dtd'])
    assert own.cells['davpt', 'vtab-dtd'].options == {}


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('vtap', ['davpt'], 'in21k'), "unknown suite 'vtap'.*Did you mean 'vtab'"),
        (('vtab', ['davppt'], 'in21k'), "unknown method .*Did you mean 'davpt'"),
        (('vtab', ['davpt'], None), 'needs --backbone'),
        (('vtab', ['davpt'], 'resnet'), 'has no config for backbone .*mocov3'),
        (('vtab', ['davpt'], 'mae', ['dtd']), "unknown task 'dtd'"),
        (('ade20k', ['vpt-deep'], 'setr'), '3 configs of vpt-deep .*p16-mae'),
        (('ade20k', ['vpt'], 'setr'), 'unknown method'),
        (('demo', ['DAVPT'], None), "unknown method 'DAVPT'"),
        (('demo', ['all'], 'vit-b'), "has backbone 'vit-digits'"),
    ],
)
def test_unknown_names(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_suite(*arguments)


def test_ade20k():
    for backbone in ('vit-large', 'setr-pup-vit-large-p16'):
        suite = load_suite('ade20k', ['vpt-deep'], backbone)
        cell = suite.cells['vpt-deep', 'ade20k']
        assert cell.config == 'configs/vpt/vpt-deep_setr-pup-vit-large-p16_ade20k.py'


def test_own_suites(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        "tasks = {'a': dict(options={'x': '{task}/{seed}'}), 'b': dict(group='g')}\n"
        "methods = {'m': dict(config='configs/{task}.py', space={'lr': [1, 2]})}\n"
        'seeds = [7]\n'
    )
    suite = load_suite(str(path), ['all'], None)
    assert (suite.name, suite.seeds, suite.protocol) == ('mine', (7,), 'own')
    cell = suite.cells['m', 'a']
    assert cell.config == 'configs/a.py' and cell.space.size == 2
    assert cell.seeded(7) == {'x': 'a/7'}
    assert suite.cells['m', 'b'].group == 'g'
    path.write_text('tasks = {}\n')
    with pytest.raises(ValueError, match='is no suite'):
        load_suite(str(path), ['all'], None)
    with pytest.raises(FileNotFoundError, match='does not exist'):
        load_suite(str(tmp_path / 'no.py'), ['all'], None)


@pytest.mark.parametrize('name', [p.stem for p in (ROOT / FILES).glob('*.py')])
def test_shipped_suites(name):
    """Every config exists and has what its space changes."""
    from mmvpt.engine.launch import load_config

    assert name in names()
    for cell in load_suite(name, ['all'], None).cells.values():
        config = load_config(str(ROOT / cell.config))
        if cell.space:
            check_keys(config, {k for d in cell.space.dimensions for k in d.keys()})


def test_names_of_files():
    cell = Cell('s', 't', '', 'linear probe, trained/2', 'vit b', 'c.py')
    assert Path(cell.name).name == cell.name == 'linear-probe-trained-2_vit-b'
