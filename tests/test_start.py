# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What a process imports before it has something to do."""

import re
import subprocess
import sys

from tests.config_files import ROOT

HEAVY = ('torch', 'mmcv', 'mmpretrain', 'mmseg', 'cv2', 'onnx', 'optuna', 'matplotlib')
HELP = f"""
import contextlib, io, sys
from mmvpt.__main__ import main

broken = sys.argv[1]  # tools set the arguments

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
    (['train', broken], 'line 2: not valid Python'),
):
    assert said in ends(*words), (words, ends(*words))
"""
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
