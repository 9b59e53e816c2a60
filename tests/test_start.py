# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What a process imports before it has something to do."""

import functools
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mmvpt.command_line import OptionAction
from mmvpt.engine import checks, early_checks
from mmvpt.engine.config_file import load_config
from mmvpt.engine.early_checks import MODEL, RUNNER
from mmvpt.errors import UserError
from mmvpt.registry import ADAPTERS, PROMPTS
from tests.config_files import CONFIGS, ROOT, load

HEAVY = ('torch', 'mmcv', 'mmpretrain', 'mmseg', 'cv2', 'onnx', 'optuna', 'matplotlib')
ENDS = f"""
import contextlib, io, json, sys
from mmvpt.__main__ import main

given = sys.argv[1]  # tools set the arguments

def ends(*words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            main(words)
        except SystemExit:
            pass
    loaded = [name for name in {HEAVY} if name in sys.modules]
    assert not loaded, (words, loaded)
    return out.getvalue()
"""
HELP = f"""{ENDS}
tools = ends('--help').split('help):')[1].split()
assert len(tools) > 25
for tool in tools:
    name = tool.rpartition('/')[2]
    assert ends(tool, '--help').startswith(f'usage: {{name}}.py'), tool
for words, said in (
    (['train'], 'required: config'),
    (['train', 'missing.py'], 'missing.py does not exist'),
    (['test', 'missing.py', 'missing.pth'], 'missing.py does not exist'),
    (['search', 'missing.py', '--space', 'x'], 'missing.py does not exist'),
    (['train', given], 'line 2: not valid Python'),
):
    assert said in ends(*words), (words, ends(*words))
"""
TOLD = f"""{ENDS}
print(json.dumps([ends(*words) for words in json.loads(given)]))
"""
BASE = f"_base_ = ['{ROOT}/configs/vpt/vpt-deep_dinov2-s_cub100.py']\n"
#: What a config says, options, and places of the mistakes.
MISTAKES = [
    ("model = dict(backbone=dict(frozen_dtypes='x'))", '', ['model.backbone.frozen_d']),
    ("_base_ = ['0.py']\nval_cfg = None", '', ['model.backbone.frozen_dtypes: ']),
    ('', 'model.backbone.foo=[1,2]', ['model.backbone.foo: Pr', ' Options: arch, ']),
    ('', 'model.backbone.prompt.num_tokns=5', ["mean 'num_tokens'?"]),
    ('', 'model.backbone.prompt.type=DeepPromt', ["mean 'DeepPrompt'?"]),
    ('', 'model.backbone.prompt.type=mmvpt.Abc', [' Known types: Adap']),
    ("model = dict(backbone=dict(adapter=dict(type='LoRA', rang=1)))", '', ["'rank'?"]),
    (
        "custom_hooks = [dict(type='mmvpt.FiniteLossHook', priority='LOW', no=1)]",
        '',
        ['custom_hooks.0.no: FiniteLossHook has no option', 'Options: '],
    ),
    (
        'model = dict(backbone=dict(foo=1, prompt=dict(foo=2)))\n'
        "default_hooks = dict(a=dict(type='mmvpt.PrefixCacheHook', max_gbs=1))",
        '',
        [
            '3 mistakes',
            'backbone.foo: P',
            'backbone.prompt.foo: D',
            'default_hooks.a.m',
        ],
    ),
    ('', 'modle.backbone.foo=1', ["--cfg-options modle.backbone.foo: .*'model'?"]),
]
#: What other checks judge: options of other classes, classes that others may register.
LEFT = [
    "model = dict(type='ImageClassifier', foo=1)",
    "model = dict(backbone=dict(type='mmvpt.Conv2d', foo=1))",
    "model = dict(backbone=dict(type='mmvpt.models.vit.PromptedVisionTransformer'))",
    "train_dataloader = dict(dataset=dict(type='mmvpt.VTAB1k', serialize_data=False))",
    "custom_imports = dict(imports=['json'])\nmodel = dict(backbone=dict(foo=1))",
    "model = dict(neck=dict(type='mine.Neck'), backbone=dict(foo=1))",
    "model = dict(backbone=dict(_scope_='mine', foo=1))",
    "optim_wrapper = dict(type='mine.Wrapper')\nmodel = dict(backbone=dict(foo=1))",
    "default_scope = 'mine'\nmodel = dict(backbone=dict(foo=1))",
    "backbone = dict(type='mmvpt.PromptedVisionTransformer', foo=1)",
    "model = dict(backbone=dict(prompt=dict(_delete_=True, type='mine.Prompt')))",
    "custom_hooks = [dict(type='mmvpt.FiniteLossHook', priority='LOW', _delete_=True)]",
]
# As custom_imports of a config do; prompts and adapters have no root in mmengine.
TYPES = """
import importlib, sys
from mmengine import registry as roots
from mmengine.utils import import_modules_from_strings
import_modules_from_strings(['mmvpt'])
for word in sys.argv[1:]:
    registry, name = word.split('.')
    own = hasattr(roots, registry) or importlib.import_module('mmvpt.registry')
    found = getattr(roots if own is True else own, registry).get(f'mmvpt.{name}')
    assert found is not None and found.__module__.startswith('mmvpt.'), word
"""


def python(script, *words):
    """Run a script in a process of its own."""
    command = [sys.executable, '-W', 'ignore', '-c', script, *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_help_and_unreadable_configs_need_no_torch(tmp_path):
    (tmp_path / 'broken.py').write_text('a = 1\nmodel = dict(\n')
    python(HELP, tmp_path / 'broken.py')


def test_every_registered_type_is_found_by_its_name():
    pattern = r"^@(\w+)\.register_module\((?:name='(\w+)')?\)\n(?:@.*\n)*class (\w+)"
    files = (path.read_text() for path in (ROOT / 'mmvpt').rglob('*.py'))
    found = (match for text in files for match in re.findall(pattern, text, re.M))
    types = {f'{registry}.{name or known}' for registry, name, known in found}
    assert {'MODELS.PromptedVisionTransformer', 'HOOKS.MetricGuidanceHook'} <= types
    python(TYPES, *sorted(types))


def registered_here(registry):
    """Return what mmvpt itself registers."""
    registry.import_from_location()
    entries = registry.module_dict.items()
    return {k: v for k, v in entries if v.__module__.startswith('mmvpt.')}


@pytest.fixture(scope='module')
def told(tmp_path_factory):
    """Return what ``train`` says of every config of ``MISTAKES``, and their files."""
    folder = tmp_path_factory.mktemp('mistakes')
    paths = [folder / f'{i}.py' for i in range(len(MISTAKES))]
    commands = []
    for path, (text, option, _) in zip(paths, MISTAKES):
        path.write_text(text if '_base_' in text else BASE + text)
        commands.append(
            ['train', str(path), *(['--cfg-options', option] * bool(option))]
        )
    return paths, json.loads(python(TOLD, json.dumps(commands)))


@pytest.mark.parametrize('case', range(len(MISTAKES)))
def test_mistakes_are_told_without_torch_as_the_whole_check_tells_them(
    told, case, monkeypatch
):
    path, said = (items[case] for items in told)
    _, option, words = MISTAKES[case]
    assert all(re.search(word, said) for word in words), said
    key, _, value = option.partition('=')
    options = {key: OptionAction._parse_iterable(value)} if key else None
    for registry in (PROMPTS, ADAPTERS):  # other tests register theirs
        monkeypatch.setattr(registry, '_module_dict', registered_here(registry))
    with pytest.raises(UserError) as error:
        checks.check(load_config(path, options))
    assert said == f'train.py: error: {error.value}\n'


def test_tools_tell_mistakes_in_what_they_check(tmp_path):
    model, hook = str(tmp_path / 'model.py'), str(tmp_path / 'hook.py')
    Path(model).write_text(f'{BASE}model = dict(backbone=dict(foo=1))')
    part = 'dict(type="mmvpt.FiniteLossHook", no=1)'
    Path(hook).write_text(f'{BASE}default_hooks = dict(a={part})')
    commands = [
        ['prune', model, 'a.pth', '--work-dir', str(tmp_path)],
        *(['test', config, 'a.pth'] for config in (model, hook)),
        *(['search', config, '--strategy', 'fixed'] for config in (model, hook)),
    ]
    places = {model: 'model.backbone.foo', hook: 'default_hooks.a.no'}
    told = json.loads(python(TOLD, json.dumps(commands)))
    for (tool, config, *_), said in zip(commands, told):
        assert said.startswith(f'{tool}.py: error: {places[config]}: '), said
    # what does not build hooks does not mind
    assert not list(early_checks.mistakes(load_config(hook), MODEL))


@pytest.mark.parametrize('text', LEFT)
def test_what_is_not_certain_is_left_to_the_whole_check(tmp_path, text):
    path = tmp_path / 'a.py'
    path.write_text(BASE + text)
    assert not list(early_checks.mistakes(load_config(path), RUNNER))


def test_options_of_the_source_are_those_of_the_classes():
    names, modules = early_checks.index()
    for registry in (PROMPTS, ADAPTERS):
        assert names[registry].keys() == registered_here(registry).keys()
    registered = [name for known in names.values() for name in known.values()]
    judged = 0
    for name in registered:
        options = early_checks.options(name, modules)
        if options is not None:
            found = getattr(import_module(modules[name]), name)
            assert options == list(checks._parameters(found)), name
            judged += 1
    assert judged >= 40 and len(registered) < 60


def test_configs_have_no_mistake_that_the_source_tells(monkeypatch):
    for name in ('index', 'statement'):  # which every config reads anew otherwise
        cached = functools.cache(getattr(early_checks, name))
        monkeypatch.setattr(early_checks, name, cached)
    for path in CONFIGS:
        assert not list(early_checks.mistakes(load(path), RUNNER)), path
