# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Rules of the tree: who may import whom, what every file has, what none has."""

import ast
import functools
import importlib
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from mmengine.registry import Registry

import mmvpt.registry

ROOT = Path(__file__).resolve().parents[1]
HEADER = '# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.\n'

# From the bottom up: a module imports from its own row and from rows above it here.
LAYERS = (
    'mmvpt.version',
    'mmvpt.errors',
    'mmvpt.registry',
    'mmvpt.files',
    'mmvpt.display',
    'mmvpt.checkpoint',
    'mmvpt.weights',
    'mmvpt.models.precision',
    'mmvpt.checkpoint.fingerprint',
    'mmvpt.models.tunable',
    'mmvpt.models.losses',
    'mmvpt.models.prompts',
    'mmvpt.models.adapters',
    'mmvpt.models.vit',
    'mmvpt.models',
    'mmvpt.checkpoint.tuned',
    'mmvpt.datasets',
    'mmvpt.analysis',
    'mmvpt.engine',
    'mmvpt.command_line',
    'mmvpt.zoo',
    'mmvpt.apis',
    'mmvpt.analysis.command',
    'mmvpt.analysis.reports',
    'mmvpt.analysis.gallery',
    'mmvpt.bench',
)
# These see themselves and nothing else of mmvpt but what is named here.
BASE = ('mmvpt.registry', 'mmvpt.errors', 'mmvpt.checkpoint', 'mmvpt.models.tunable')
APART = {
    'mmvpt': ('mmvpt.version', 'mmvpt.moved'),
    'mmvpt.moved': (),
    'mmvpt.__main__': ('mmvpt.files', 'mmvpt.errors'),
    'mmvpt.datasets': (
        'mmvpt.registry',
        'mmvpt.errors',
        'mmvpt.files',
        'mmvpt.display',
    ),
    'mmvpt.models.losses': BASE,
    'mmvpt.models.prompts': BASE,
    'mmvpt.models.adapters': BASE,
}


def python_files(*folders):
    """Return the Python files below ``folders`` of the tree."""
    skipped = {'__pycache__', '.mim'}
    files = [p for folder in folders for p in sorted((ROOT / folder).rglob('*.py'))]
    return [p for p in files if not skipped & set(p.parts)]


def module_name(path):
    """Return the dotted name of a file of the tree."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def is_module(name):
    """Tell whether ``name`` is a module or package of the tree."""
    path = ROOT.joinpath(*name.split('.'))
    return path.with_suffix('.py').exists() or (path / '__init__.py').exists()


@functools.cache
def parsed(path):
    """Return the syntax tree of a file, and all of its nodes."""
    tree = ast.parse(path.read_text())
    return tree, tuple(ast.walk(tree))


def imports(path, nodes=None):
    """Yield (line, dotted name) of everything that a file imports.

    Args:
        path: The file.
        nodes: Syntax nodes to look at, the whole file by default.
    """
    package = module_name(path).split('.')
    if path.name != '__init__.py':
        package = package[:-1]
    for node in parsed(path)[1] if nodes is None else nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            base = '.'.join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f'{base}.{alias.name}'
                known = not base.startswith('mmvpt') or is_module(name)
                yield node.lineno, name if known else base


def row(name, rows):
    """Return the most specific of ``rows`` that ``name`` lies in, or None."""
    inside = [r for r in rows if name == r or name.startswith(r + '.')]
    return max(inside, key=len, default=None)


def at(path, line):
    """Return ``path:line`` relative to the tree."""
    return f'{path.relative_to(ROOT)}:{line}'


def test_imports_point_one_way():
    problems = []
    for path in python_files('mmvpt'):
        here = module_name(path)
        if here == 'mmvpt':
            own = 'mmvpt'
        else:
            own = row(here, (*LAYERS, *(a for a in APART if a != 'mmvpt')))
        if own is None:
            problems.append(f'{here} has no row in LAYERS or APART: give it one')
            continue
        if own in APART:
            allowed = {own, *APART[own]}
        else:
            allowed = set(LAYERS[: LAYERS.index(own) + 1])
        for line, name in imports(path):
            if name.split('.')[0] != 'mmvpt':
                continue
            target = row(name, (*LAYERS, *APART))
            if target not in allowed:
                problems.append(f'{at(path, line)}: {here} must not import {name}')
    assert not problems, '\n'.join(problems)


def test_only_segmentation_imports_mmseg():
    problems = [
        f'{at(path, line)}: {name}'
        for path in python_files('mmvpt', 'configs', 'tools')
        for line, name in imports(path)
        if name.split('.')[0] == 'mmseg' and 'seg' not in str(path.relative_to(ROOT))
    ]
    assert not problems, '\n'.join(problems)


def test_backbones_name_no_prompt():
    """What differs between methods is said by their attributes, see ``BasePrompt``."""
    mmvpt.registry.PROMPTS.import_from_location()
    prompts = mmvpt.registry.PROMPTS.module_dict.items()
    types = '|'.join(n for n, t in prompts if t.__module__.startswith('mmvpt.'))
    pattern = rf'\b({types}|vpt|da-?vpt|vapt|gated|shallow|gated prompt tuning)\b'
    problems = [
        f'{at(path, number)}: {line.strip()}'
        for path in python_files('mmvpt/models/vit')
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(pattern, line, re.IGNORECASE)
    ]
    assert not problems, '\n'.join(problems)


def test_nothing_that_a_supported_stack_lacks():
    """Compiled operators and names that the forks removed."""
    problems = []
    for path in python_files('mmvpt', 'configs', 'tools', 'tests'):
        tree, nodes = parsed(path)
        for line, name in imports(path, tree.body):
            if name == 'mmcv.ops' or name.startswith('mmcv.ops.'):
                problems.append(f'{at(path, line)}: mmcv.ops at module level')
        for line, name in imports(path):
            if name.endswith('.version_info') or name == 'mmseg.digit_version':
                problems.append(f'{at(path, line)}: {name}')
        for node in nodes:
            if getattr(node, 'attr', None) in ('version_info', 'digit_version'):
                name = ast.unparse(node)
                if re.fullmatch(r'mm\w+\.version_info|mmseg\.digit_version', name):
                    problems.append(f'{at(path, node.lineno)}: {name}')
    assert not problems, '\n'.join(problems)


def test_imported_packages_are_required():
    """What mmvpt and tools import at module level is in requirements/."""
    required, optional = set(), set()
    for name in ('runtime', 'torch', 'mminstall', 'upstream', 'optional', 'tests'):
        lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
        found = {re.match(r'[\w.-]*', line).group().lower() for line in lines} - {''}
        (optional if name in ('optional', 'tests') else required).update(found)
    required.add('mmcv-lite')  # another name of mmcv
    providers = packages_distributions()
    # Comes with mmcv; naming one build of OpenCV could overwrite another.
    providers['cv2'] = ['mmcv']
    problems = []
    for path in python_files('mmvpt', 'tools'):
        top = set(imports(path, parsed(path)[0].body))
        for line, name in imports(path):
            root = name.split('.')[0]
            beside = path.with_name(root + '.py').exists() or (ROOT / root).is_dir()
            if root in sys.stdlib_module_names or beside:
                continue
            allowed = required if (line, name) in top else required | optional
            names = {d.lower().replace('_', '-') for d in providers.get(root, [root])}
            if not names & allowed:
                problems.append(f'{at(path, line)}: {root} is in no requirements file')
    assert not problems, '\n'.join(problems)


def test_python_files():
    """Every file starts with the licence, none is a heap.

    A config is exempt from the licence line: its head says what the experiment is.
    """
    problems = []
    for path in [
        *python_files('mmvpt', 'configs', 'tools', 'tests'),
        ROOT / 'setup.py',
    ]:
        text = path.read_text()
        name = path.relative_to(ROOT)
        licensed = name.parts[0] == 'configs' or not text
        if not licensed and not re.sub(r'^#!.*\n', '', text).startswith(HEADER):
            problems.append(f'{name}: the first line is not the licence header')
        if any(re.fullmatch(r'utils?|helpers?|misc|common', p) for p in name.parts):
            problems.append(f'{name}: name it for what it does')
        if re.search(r'(^|_)(utils?|helpers?|misc)$', path.stem):
            problems.append(f'{name}: name it for what it does')
    assert not problems, '\n'.join(problems)


def test_programs_run_from_a_checkout():
    """Without installation and PYTHONPATH, by one line in ``tools/checkout.py``."""
    problems = []
    for path in python_files('mmvpt', 'tools'):
        text, name = path.read_text(), path.relative_to(ROOT)
        program = name.parts[0] == 'tools' and "__name__ == '__main__'" in text
        if program and 'from checkout import' not in text:
            problems.append(f'{name}: run it by run_tool of checkout')
        if program and re.search(r'^(from|import) mmvpt', text, re.MULTILINE):
            problems.append(f'{name}: import mmvpt in main, behind checkout')
        if 'sys.path.insert' in text and path.name != 'checkout.py':
            problems.append(f'{name}: leave sys.path to tools/checkout.py')
    assert not problems, '\n'.join(problems)


def test_no_paths_of_somebodys_machine():
    problems = []
    pattern = re.compile(r'(?<![\w.}>*-])/(work|home|root|Users|opt|mnt|tmp)/\w')
    folders = ('mmvpt', 'configs', 'tools', 'tests', 'docs', 'requirements', '.ci')
    files = [p for folder in folders for p in (ROOT / folder).rglob('*')]
    kinds = {'.py', '.md', '.sh', '.yml', '.yaml', '.toml', '.cff', '.in', '.txt', ''}
    skipped = {'__pycache__', '.mim', 'data', '.git'}
    for path in [*files, *ROOT.iterdir()]:
        inside = set(path.relative_to(ROOT).parts)
        if not path.is_file() or path.suffix not in kinds or inside & skipped:
            continue
        try:
            lines = path.read_text(encoding='utf-8').splitlines()
        except UnicodeDecodeError:
            continue
        problems += [
            f'{at(path, number)}: {line.strip()}'
            for number, line in enumerate(lines, 1)
            if pattern.search(line)
        ]
    assert not problems, '\n'.join(problems)


REGISTRIES = {k: v for k, v in vars(mmvpt.registry).items() if k.isupper()}
REGISTRIES = {
    name: registry
    for name, registry in REGISTRIES.items()
    if isinstance(registry, Registry) and not name.startswith('MMENGINE')
}


@pytest.mark.parametrize('name', REGISTRIES)
def test_registry_locations_import(name):
    """mmengine imports them only when searched, so a wrong one would hide."""
    registry = REGISTRIES[name]
    assert registry.scope == 'mmvpt'
    assert registry._locations, f'{name} has no locations'
    for location in registry._locations:
        importlib.import_module(location)
    registry.import_from_location()


def test_registered_classes_live_where_the_registry_looks():
    problems = []
    for name, registry in REGISTRIES.items():
        registry.import_from_location()
        for key, entry in registry.module_dict.items():
            ours = row(entry.__module__, ['mmvpt'])
            if ours and not row(entry.__module__, registry._locations):
                problems.append(f'{key} of {name} is in {entry.__module__}')
    assert REGISTRIES and not problems, '\n'.join(problems)


def test_python_files_that_register_are_imported():
    """A registered class in a file that nobody imports cannot be found by name."""
    for registry in REGISTRIES.values():
        registry.import_from_location()
    problems = [
        module_name(path)
        for path in python_files('mmvpt')
        if re.search(r'^@\w+\.register_module', path.read_text(), re.MULTILINE)
        and module_name(path) not in sys.modules
    ]
    assert not problems, f'import these in their __init__: {problems}'
