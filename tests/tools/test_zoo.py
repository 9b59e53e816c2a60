# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""tools/zoo.py: the tree is current, the tables are whole, the numbers agree."""

import ast
import re
from collections import Counter

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmvpt.datasets import FGVC, VTAB1k
from mmvpt.errors import UserError
from mmvpt.models.tunable import count_parameters
from mmvpt.zoo import davpt, listing, source, tables, writing
from mmvpt.zoo.methods import PAPERS
from tests.config_files import FIELD, ROOT, ZOO, load
from tools import zoo

#: Parameters of the prompts of the released files, from a reading of their code.
RELEASED = {
    ('augreg-in21k', 'fgvc'): (5, 1_393_920),
    ('mae', 'fgvc'): (5, 821_760),
    ('mocov3', 'fgvc'): (5, 775_680),
}
#: Tuned parameters of all released files without heads, from the same reading.
TUNED = {'augreg-in21k': 5_012_736, 'mae': 2_315_520, 'mocov3': 2_763_264}


def test_the_tree_is_current():
    changed = list(writing.outdated())
    assert not changed, f'run `python tools/zoo.py --write`; not current: {changed[:9]}'


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A tree of one method, written."""
    monkeypatch.setattr(writing, 'PAPERS', dict(gatedvpt=PAPERS['gatedvpt']))
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'docs/model_zoo.md').write_text('By hand.\n')
    (tmp_path / 'configs/gatedvpt').mkdir(parents=True)
    assert len(writing.write(tmp_path)) == 48 + 3
    return tmp_path


def test_write_repairs_what_is_not_current(small):
    assert not writing.outdated(small)
    folder = small / 'configs/gatedvpt'
    name = 'gatedvpt_vit-base-p16_mae_{}.py'
    edited, missing = folder / name.format('cub'), folder / name.format('dogs')
    stale = folder / name.format('mars')
    text = edited.read_text()
    edited.write_text(text.replace('gate_init=5', 'gate_init=6'))
    stale.write_text(missing.read_text())
    missing.unlink()
    own = folder / 'own.py'
    own.write_text('# By hand.\n')
    wrong = {p.name for p in (edited, missing, stale)} | {'metafile.yml'}
    # the counts on the page see the config by hand
    wrong |= {'model_zoo.md'}
    assert {path.rsplit('/', 1)[-1] for path in writing.outdated(small)} == wrong
    writing.write(small)
    assert not writing.outdated(small)
    assert edited.read_text() == text and missing.exists() and own.exists()
    assert not stale.exists()
    assert (small / 'docs/model_zoo.md').read_text().startswith('By hand.\n')


def test_check_and_count_speak(capsys, monkeypatch):
    monkeypatch.setattr(writing, 'outdated', lambda: {'configs/a.py': None})
    with pytest.raises(UserError, match='--write'):
        zoo.main(['--check'])
    assert 'configs/a.py' in capsys.readouterr().out
    monkeypatch.setattr(writing, 'outdated', dict)
    zoo.main(['--check'])
    zoo.main(['--count'])
    assert '24: 5 of FGVC, 19 of VTAB-1k' in capsys.readouterr().out


def test_one_thing_at_a_time_and_a_cell_goes_to_a_file(tmp_path, capsys):
    for wrong in ([], ['--check', '--count'], ['--write', '--backbone', 'dinov2-b']):
        with pytest.raises(UserError, match='one of --write, --check, --count and'):
            zoo.main(wrong)
    cell = ['--backbone', 'dinov2-b', '--method', 'lora', '--data', 'vtab-dtd']
    zoo.main(cell)
    assert "arch='dinov2-b'" in capsys.readouterr().out
    zoo.main([*cell, '--out', str(tmp_path / 'new' / 'cell.py')])
    assert "arch='dinov2-b'" in (tmp_path / 'new' / 'cell.py').read_text()
    assert not capsys.readouterr().out


def test_docs_state_the_counts():
    """What --count prints, the files there are, and the pages say the same."""
    lines = listing.counts(ROOT, PAPERS.values())
    page = (ROOT / 'docs/model_zoo.md').read_text()
    assert '\n'.join(lines) in page
    number = int(re.match(r'configs +(\d+) from the tables', lines[0])[1])
    methods = int(re.match(r'methods +(\d+)', lines[1])[1])
    assert number == len(ZOO) + len(FIELD)
    assert methods == len({name.method for name in ZOO} | {m for m, _ in FIELD})
    stated = f'{number} configs of {methods} methods on 24 tasks'
    assert stated in (ROOT / 'docs/configs.md').read_text()


def test_every_method_covers_every_task():
    tasks = {*FGVC.TASKS, *(f'vtab-{n.replace("_", "-")}' for n in VTAB1k.TASKS)}
    assert set(tables.TASKS) == tasks and len(tasks) == 24
    cells = Counter(
        (name.method, name.backbone) for name in ZOO if name.method != 'davpt-released'
    )
    assert set(cells.values()) == {24}
    self_supervised = ('vpt-shallow', 'vpt-deep', 'gatedvpt', 'vapt', 'davpt')
    for method in self_supervised:
        assert {(method, 'mae'), (method, 'mocov3')} <= set(cells)


def test_figures_are_of_cells_that_exist():
    cells = {(name.method, name.backbone) for name in ZOO}
    # the baselines have no configs of their own for these weights
    cells |= {('full', 'mae'), ('full', 'mocov3'), *FIELD}
    scopes = {*tables.TASKS, *tables.MEANS, 'mean of groups'}
    for method, backbone, scope in tables.PUBLISHED:
        config = f'{method}_{backbone}_{scope}.py'
        segmentation = list((ROOT / 'configs').glob(f'*/{config}'))
        assert segmentation or (method, backbone) in cells and scope in scopes
    assert len(tables.PUBLISHED) == len(tables.read_table('published'))


@pytest.mark.parametrize(
    ('method', 'backbone', 'groups', 'within'),
    [
        ('vpt-deep', 'in21k', tables.MEANS, 0.06),
        ('full', 'in21k', ('natural', 'specialized', 'structured'), 0.06),
        ('linear', 'in21k', ('natural', 'specialized', 'structured'), 0.06),
        ('vpt-shallow', 'in21k', ('natural', 'specialized', 'structured'), 0.06),
        ('davpt', 'augreg-in21k', ('fgvc',), 0.06),
        ('davpt-plus', 'augreg-in21k', ('fgvc',), 0.06),
        *(
            (method, backbone, ('fgvc',), 0.06)
            for method in ('vpt-shallow', 'vpt-deep', 'gatedvpt')
            for backbone in ('mae', 'mocov3')
        ),
    ],
)
def test_means_follow_from_the_tasks(method, backbone, groups, within):
    for group in groups:
        figures = [
            float(tables.PUBLISHED[method, backbone, task.name])
            for task in tables.TASKS.values()
            if task.group == group
        ]
        mean = float(tables.PUBLISHED[method, backbone, group])
        assert sum(figures) / len(figures) == pytest.approx(mean, abs=within)


def test_davpt_reads_the_released_files():
    files, _ = davpt.released_files()
    assert len(files) == 61
    seen = {}
    for row in files.values():
        task = tables.TASKS[row['task']]
        guided = davpt.LAYERS - row['proxy_prompt_start_idx']
        tokens = guided * min(row['proxy_prompt_len'], task.num_classes)
        tokens += (davpt.LAYERS - guided) * row['num_prompts']
        key = row['backbone'], task.benchmark
        number, size = seen.get(key, (0, 0))
        seen[key] = number + 1, size + 768 * tokens
    for key, expected in RELEASED.items():
        assert seen[key] == expected, key


def test_every_released_file_has_a_config():
    """One each, where its backbone and task are, with its own first update."""
    files, _ = davpt.released_files(revived=False)
    named = {(n.backbone, n.task): n for n in ZOO if n.method == 'davpt-released'}
    assert set(named) == {(row['backbone'], row['task']) for row in files.values()}
    tuned = Counter()
    updates = Counter()
    for row in files.values():
        name = named[row['backbone'], row['task']]
        config = load(name.path)
        assert f'{row["file"]}.yaml' in name.path.read_text()
        assert config.optim_wrapper.type == 'AmpOptimWrapper'
        guided = row['vpt_loss_weight'] or row['cls_loss_weight']
        guided = guided and row['loss_vpt_scale_ratio']
        hooks = config.default_hooks
        assert ('metric_guidance' in hooks) == ('semantic_mapping' in hooks)
        assert ('metric_guidance' in hooks) == bool(guided), row['file']
        if guided:
            updates[hooks.semantic_mapping.begin] += 1
            assert hooks.semantic_mapping.released and hooks.metric_guidance.released
            assert hooks.metric_guidance.visual_weight == row['vpt_loss_weight']
            assert hooks.metric_guidance.cls_weight == row['cls_loss_weight']
            assert hooks.metric_guidance.loss.scale == row['loss_vpt_scale_ratio']
            assert hooks.metric_guidance.loss.positives == 'all'
        with DefaultScope.overwrite_default_scope('mmpretrain'), torch.device('meta'):
            backbone = MODELS.build(config.model.backbone)
        tuned[row['backbone']] += count_parameters(backbone)[0]
    assert updates == {1: 22, 10: 33}
    assert tuned == TUNED


def test_davpt_borrows_from_the_nearest_task():
    """Of the same group, with the nearest number of classes; the first of equals."""
    rows = tables.read_table('davpt_borrowed')
    files, _ = davpt.released_files()
    order = list(tables.TASKS)
    for row in rows:
        task = tables.TASKS[row['task']]
        if row['file'] == 'mae_retinopathy':  # its own file, named for its backbone
            continue
        near = [
            (abs(tables.TASKS[f['task']].num_classes - task.num_classes), f)
            for f in files.values()
            if f['backbone'] == row['backbone']
            and tables.TASKS[f['task']].group == task.group
        ]
        near.sort(key=lambda item: (item[0], order.index(item[1]['task'])))
        assert near[0][1]['file'] == row['file'], row


def test_davpt_decays_a_head_alone():
    """Where prompts do not decay the optimizer's decay is the head's."""
    name = 'davpt_vit-base-p16_augreg-in21k_vtab-dmlab.py'
    wrapper = Config.fromfile(ROOT / 'configs/davpt' / name).optim_wrapper
    assert wrapper.optimizer.weight_decay == 0.05
    keys = wrapper.paramwise_cfg.custom_keys
    assert keys['head.fc.weight'].decay_mult == 1
    assert keys['backbone'].decay_mult == 0


def test_metafiles_list_every_config_once():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    names = []
    for path in index['Import']:
        metafile = yaml.safe_load((ROOT / path).read_text())
        (collection,) = metafile['Collections']
        assert (ROOT / collection['README']).exists()
        for model in metafile['Models']:
            assert model['In Collection'] == collection['Name']
            assert model['Config'].endswith(f'/{model["Name"]}.py')
            assert model['Results'] is None, 'state results that we measured alone'
            names.append(model['Name'])
    assert len(names) == len(set(names))
    assert {name.path.stem for name in ZOO} <= set(names)


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (dict(a=1, b=(2,), c=[0.5, 'x']), "dict(a=1, b=(2,), c=[0.5, 'x'])"),
        ({'head.fc': dict(lr=1e-05)}, "{'head.fc': dict(lr=1e-05)}"),
        (dict(), 'dict()'),
        (source.Code('range(3)'), 'range(3)'),
        (
            dict(first='x' * 40, second='y' * 25),
            f'dict(\n    first={"x" * 40!r}, second={"y" * 25!r}\n)',
        ),
        (
            dict(one=dict(two={'a.b': 'x' * 50, 'c': 'y' * 30})),
            'dict(\n    one=dict(\n        two={\n'
            f"            'a.b': {'x' * 50!r},\n            'c': {'y' * 30!r},\n"
            '        }\n    )\n)',
        ),
    ],
)
def test_source_is_laid_out_like_ruff(value, text):
    assert source.render(value) == text
    ast.parse(text)
