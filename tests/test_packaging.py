# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What a wheel of mmvpt holds and asks for, built from this tree without network."""

import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import mmvpt

ROOT = Path(__file__).resolve().parents[1]
FOREIGN = re.compile(r'^(onedl-)?(mm\w+|torch|torchvision)$')


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """Give a copy of the tree, as a build leaves its folder behind."""
    copy = tmp_path_factory.mktemp('source') / 'mmvpt'
    copy.mkdir()
    ignore = shutil.ignore_patterns('__pycache__', '.mim')
    for name in ('mmvpt', 'configs', 'tools', 'requirements'):
        shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, copy)
    return copy


def build(source, hook, target):
    """Call a hook of the build backend as pip does (PEP 517, 660); return the wheel."""
    project = (source / 'pyproject.toml').read_text()
    (backend,) = re.findall(r'^build-backend = "([\w.]+)"$', project, re.MULTILINE)
    code = f'import {backend} as backend; backend.{hook}({str(target)!r})'
    command = [sys.executable, '-c', code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=source)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = target.glob('*.whl')
    return path


def read_wheel(path):
    """Return names of the files in a wheel, and its metadata."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        (name,) = (n for n in names if n.endswith('.dist-info/METADATA'))
        return names, email.message_from_bytes(archive.read(name))


@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory):
    """Build the wheel once: (names, metadata)."""
    # A module of an earlier version that a careless build would pack again.
    stale = source / 'build' / 'lib' / 'mmvpt' / 'removed_long_ago.py'
    stale.parent.mkdir(parents=True)
    stale.write_text('raise RuntimeError\n')
    target = tmp_path_factory.mktemp('wheel')
    return read_wheel(build(source, 'build_wheel', target))


def shipped():
    """Return the files that .mim must hold, relative to it."""
    folders = [ROOT / 'configs', ROOT / 'tools']
    files = [p for folder in folders for p in folder.rglob('*') if p.is_file()]
    files = [p for p in files if '__pycache__' not in p.parts]
    return {p.relative_to(ROOT).as_posix() for p in files} | {'model-index.yml'}


def test_wheel_holds_configs_and_tools(wheel):
    names, _ = wheel
    inside = {n[len('mmvpt/.mim/') :] for n in names if n.startswith('mmvpt/.mim/')}
    assert inside == shipped()


def test_wheel_holds_every_module_and_nothing_else(wheel):
    names, _ = wheel
    packed = {n for n in names if n.startswith('mmvpt/') and '/.mim/' not in n}
    folder = ROOT / 'mmvpt'
    data = ('zoo/data/*.csv', 'weights/*.csv', '**/*.yml')
    files = [*folder.rglob('*.py'), *(f for name in data for f in folder.glob(name))]
    expected = {p.relative_to(ROOT).as_posix() for p in files if '.mim' not in p.parts}
    assert packed == expected
    roots = {n.split('/')[0] for n in names}
    assert roots == {'mmvpt', f'mmvpt-{mmvpt.__version__}.dist-info'}


def test_wheel_leaves_no_mim_in_the_tree(wheel, source):
    assert not (source / 'mmvpt' / '.mim').exists()


def test_metadata(wheel):
    _, metadata = wheel
    assert metadata['Version'] == mmvpt.__version__
    assert 'Apache-2.0' in (metadata['License-Expression'] or metadata['License'])
    extras = set(metadata.get_all('Provides-Extra'))
    assert extras == {'mim', 'upstream', 'optional', 'tests', 'all'}


def test_requirements_leave_torch_and_openmmlab_alone(wheel):
    _, metadata = wheel
    for line in metadata.get_all('Requires-Dist'):
        name = re.match(r'[\w.-]+', line).group()
        if FOREIGN.match(name):
            assert re.search(r'extra == .(mim|upstream).', line), line
        if 'extra ==' not in line:
            assert name == line, f'{line}: a bound may move what is installed'


def test_lock_satisfies_the_ranges(wheel):
    _, metadata = wheel
    lines = (ROOT / 'requirements' / 'lock.txt').read_text().splitlines()
    lock = dict(line.split('==') for line in lines if not line.startswith('#'))
    wanted = [
        line for line in metadata.get_all('Requires-Dist') if 'upstream' not in line
    ]
    for group in ('torch', 'sweep', 'docs', 'dev'):
        text = (ROOT / 'requirements' / f'{group}.txt').read_text()
        wanted += re.findall(r'^[a-z].*', text, re.MULTILINE)
    for wish in map(Requirement, wanted):
        name = wish.name.lower().replace('_', '-')
        assert wish.specifier.contains(lock[name]), f'{wish}: {lock[name]}; make lock'


def test_editable_install_sees_current_configs(source, tmp_path, wheel):
    """PEP 660: pip calls build_editable, which the classic recipe forgets."""
    build(source, 'build_editable', tmp_path)
    mim = source / 'mmvpt' / '.mim'
    assert {p.name for p in mim.iterdir()} == {'configs', 'tools', 'model-index.yml'}
    (source / 'configs' / 'added_later.py').write_text('')
    if os.name == 'posix':
        assert (mim / 'configs' / 'added_later.py').exists()
    # Links must not make a later wheel pack things twice or pack the links.
    target = tmp_path / 'again'
    target.mkdir()
    names, _ = read_wheel(build(source, 'build_wheel', target))
    assert set(names) == set(wheel[0]) | {'mmvpt/.mim/configs/added_later.py'}
    assert len(names) == len(set(names))
    assert (mim / 'configs' / 'added_later.py').exists(), 'the wheel took the links'


def test_citation_and_model_index():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['version'] == mmvpt.__version__
    assert citation['license'] == 'Apache-2.0'
    assert {'cff-version', 'message', 'title', 'authors'} <= set(citation)
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    for path in index['Import']:
        metafile = yaml.safe_load((ROOT / path).read_text())
        assert {'Collections', 'Models'} & set(metafile), path
        for model in metafile.get('Models', []):
            assert (ROOT / model['Config']).exists(), (path, model['Config'])
