# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Which config a method, a backbone and a task have."""

import json
from pathlib import Path

import pytest
import torch
from mmpretrain.registry import MODELS

from mmvpt.bench import benchmark as benchmark_command
from mmvpt.bench import get_protocol
from mmvpt.bench.settings import Settings
from mmvpt.bench.space import check_keys
from mmvpt.bench.suites import FILES, ROOT, SEGMENTATION, ZOO_SPACES, Cell, load_suite
from mmvpt.bench.suites import names as names_of_suites
from mmvpt.engine.run import load_config
from mmvpt.zoo.shipped import BACKBONES
from tests.bench.inline_pool import InlinePool
from tests.config_files import load
from tests.engine import miniature
from tests.tools.programs import load_tool

PROBE = load_config(str(ROOT / 'configs/_base_/schedules/probe_lbfgs.py'))


@pytest.mark.parametrize(
    'name, count',
    [('fgvc', 5), ('vtab', 19), ('vtab-natural', 7), ('vtab-specialized', 4)],
)
def test_suites_of_the_zoo(name, count):
    suite = load_suite(name, ['vpt-deep', 'vapt'], 'vit-b_in21k')
    assert len(suite.tasks) == count and len(suite.cells) == 2 * count
    assert all((ROOT / cell.config).is_file() for cell in suite.cells.values())
    assert {cell.group for cell in suite.cells.values()} <= {
        'fgvc',
        'natural',
        'specialized',
        'structured',
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
        (('demo', ['all'], 'vit-b'), 'vit-b names no weights.*Give a file'),
        (('demo', ['all'], 'vit-digit'), "demo.py has 'vit-digits'. Other backbones"),
    ],
)
def test_unknown_names(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_suite(*arguments)


@pytest.mark.parametrize(
    'backbone, size',
    [('siglip2-b', 96), ('configs/vpt/vpt-deep_vit-mini_fashion1k.py', 0)],
)
def test_a_suite_on_another_backbone(backbone, size):
    """All that depends on it follows: width, size and normalisation of images."""
    methods = ['VPT-deep', 'DA-VPT+', 'linear probe, converged']
    suite = load_suite('cub100_1k', methods, backbone)
    own = load_suite('cub100_1k', methods, None)
    for key, cell in suite.cells.items():
        assert cell.backbone == backbone and cell.name != own.cells[key].name
        config = load_config(cell.config, dict(cell.options))
        sides = config.model.backbone.img_size
        for loader in (config.train_dataloader, config.test_dataloader):
            resize = loader.dataset.pipeline[1]
            assert tuple(resize.scale) == (sides, sides)
        assert size in (0, sides)
        assert config.model.backbone.init_cfg.checkpoint
        config.model.backbone.init_cfg = None
        model = MODELS.build(config.model).eval()
        features = model.extract_feat(torch.zeros(2, 3, sides, sides))
        assert model.head.pre_logits(features).shape[1] == model.head.fc.in_features
    if backbone == 'siglip2-b':
        assert config.model.data_preprocessor.mean == [127.5] * 3


@pytest.mark.parametrize(
    'backbone, others',
    [
        ('vit-b_in21k', {'gatedvpt', 'davpt-released'}),
        ('mae', {'linear', 'linear-converged', 'mlp', 'full', 'bias', 'partial-1'}),
    ],
)
def test_all_methods_are_those_with_configs(backbone, others, capsys):
    suite = load_suite('vtab', ['all'], backbone)
    said = capsys.readouterr().out
    assert 'Left out' in said and all(method in said for method in others)
    assert not others & set(suite.methods)
    if backbone == 'mae':
        others |= {'lora', 'adapter-plus', 'ssf', 'davpt-released'}
    assert {*suite.methods, *others} == {*ZOO_SPACES, 'davpt-released'}
    assert len(suite.cells) == 19 * len(suite.methods)
    with pytest.raises(ValueError, match='has no config for backbone'):
        load_suite('vtab', sorted(others), backbone)


def test_all_methods_on_no_backbone():
    with pytest.raises(ValueError, match="no method of vtab has .* 'resnet'"):
        load_suite('vtab', ['all'], 'resnet')
    with pytest.raises(ValueError, match="no method of ade20k has .* 'resnet'"):
        load_suite('ade20k', ['all'], 'resnet')


@pytest.mark.parametrize('backbone', BACKBONES)
def test_spaces_of_the_zoo_fit_every_method(backbone):
    for suite, task in (('vtab', 'vtab-dtd'), ('fgvc', 'flowers')):
        for cell in load_suite(suite, ['all'], backbone, [task]).cells.values():
            config = load_config(str(ROOT / cell.config), dict(cell.options))
            assert (cell.space is None) == (cell.method == 'davpt-released')
            varied = cell.space.dimensions if cell.space else ()
            check_keys(config, {key for d in varied for key in d.keys()})


def test_the_converged_probe_is_always_searched(tmp_path):
    suite = load_suite('vtab', ['linear', 'linear-converged'], 'in21k', ['vtab-dtd'])
    trained, converged = (cell for cell in suite.cells.values())
    for protocol in map(get_protocol, ('vpt', 'own')):
        assert converged.is_searched(False, protocol)
        assert not trained.is_searched(False, protocol)
        assert trained.is_searched(True, protocol)
    (strengths,) = converged.space.dimensions
    assert sorted(l2 for (l2,) in strengths.values) == sorted(PROBE.train_cfg.l2)
    with pytest.raises(ValueError, match="'single-recipe' searches nothing.*vpt, own"):
        converged.is_searched(False, get_protocol('single-recipe'))

    path = tmp_path / 'space.py'
    path.write_text("space = {'optim_wrapper.optimizer.lr': [1, 2]}\n")
    arguments = (['linear', 'linear-converged'], 'in21k', ['vtab-dtd'], str(path))
    spaces = [cell.space.size for cell in load_suite('vtab', *arguments).cells.values()]
    assert spaces == [2, 13]
    with pytest.raises(ValueError, match='changes nothing: linear-converged'):
        load_suite('vtab', ['linear-converged'], *arguments[1:])


def test_a_search_that_nobody_asked_for(tmp_path, monkeypatch):
    """The probe of the protocol of VPT: found on val, then trained without it."""
    pytest.importorskip('optuna')
    monkeypatch.setattr(benchmark_command, 'Pool', InlinePool)
    data = miniature.write_data(tmp_path)
    config = miniature.config(data, model__backbone__prompt=None)
    config.optim_wrapper, config.param_scheduler = PROBE.optim_wrapper, None
    config.train_cfg, config.experiment_name = PROBE.train_cfg, None
    config.dump(str(tmp_path / 'probe.py'))
    entry = dict(config=str(tmp_path / 'probe.py'), strategy='grid')
    entry['space'] = {'train_cfg.l2': [[0.001], [0.1], [10.0]]}
    suite = tmp_path / 'suite.py'
    text = "name = 'mine'\nprotocol = 'vpt'\ntasks = dict(a={})\nseeds = [0]\n"
    suite.write_text(f"{text}methods = {{'probe': {entry!r}}}\n")
    arguments = [str(suite), '--method', 'all', '--out', str(tmp_path / 'out')]
    main = load_tool('benchmark').main
    assert main([*arguments, '--no-preview']) == 1
    folder = tmp_path / 'out/records/mine/vpt/a'
    search = json.loads((folder / 'probe_search.json').read_text())
    record = json.loads((folder / 'probe_seed0.json').read_text())
    assert search['strategy']['name'] == 'grid' and len(search['trials']) == 3
    assert record['settings'] == search['best']['overrides']
    assert record['protocol']['train_split'] == 'train800val200'
    del entry['space']
    suite.write_text(f"{text}methods = {{'probe': {entry!r}}}\n")
    with pytest.raises(ValueError, match='probe has a strategy, but no space'):
        main(arguments)


def test_costs_are_measured_with_the_settings_that_run():
    suite = load_suite('vtab', ['linear'], 'in21k', ['vtab-dtd'])
    settings = Settings(get_protocol('vpt'), Path('out'), (0,))
    for search in (False, True):
        pool = InlinePool()
        benchmark = benchmark_command.Benchmark(suite, settings, pool, search)
        spec = benchmark._spec(benchmark.cells[0], 'final')
        space = benchmark.cells[0].space
        assert spec['overrides'] == (space.overrides(space.start) if search else {})


@pytest.mark.parametrize('name', SEGMENTATION)
def test_segmentation_in_one_process_has_the_batch_of_eight(name):
    assert name in names_of_suites()
    for backbone in ('upernet-vit-base-p16', 'setr-pup-vit-large-p16'):
        suite = load_suite(name, ['all'], backbone)
        assert {'davpt-plus', 'bias', 'lora', 'ssf', 'adapter-plus'} < {*suite.methods}
        for cell in suite.cells.values():
            assert cell.options == {'train_dataloader.batch_size': 16}
            config = load(ROOT / cell.config)
            assert config.auto_scale_lr.base_batch_size == 16
            assert config.train_dataloader.batch_size == 2


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
    assert name in names_of_suites()
    for cell in load_suite(name, ['all'], None).cells.values():
        config = load_config(str(ROOT / cell.config))
        if cell.space:
            assert (cell.space is None) == (cell.method == 'davpt-released')
            varied = cell.space.dimensions if cell.space else ()
            check_keys(config, {key for d in varied for key in d.keys()})


def test_names_of_files():
    cell = Cell('s', 't', '', 'linear probe, trained/2', 'vit b', 'c.py')
    assert Path(cell.name).name == cell.name == 'linear-probe-trained-2_vit-b'
