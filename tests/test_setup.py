# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What make installs, in which order, and when it does not; pip never runs here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = ('Makefile', 'setup.py', 'requirements')

pytestmark = pytest.mark.skipif(shutil.which('make') is None, reason='needs make')

# Creates environments that hold itself, installs by writing down what it was asked for,
# imports what the folder `modules` has.
PYTHON = f"""#!/bin/sh
case "$*" in
  '-V') echo "Python $VERSION" ;;
  *version_info*) [ "$VERSION" != 3.9 ] ;;
  '-m venv '*)
    [ ! "$NO_VENV" ] && mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && touch "$3/pyvenv.cfg" ;;
  '-m pip list '*) echo 'torch==2.3.1'; echo 'mmvpt==0.1.0' ;;
  '-m pip install '*)
    echo "$*" >>'LOG'
    case "$*" in *"$UNREACHABLE"*) echo 'no such index' >&2; exit 1 ;; esac ;;
  '-m pytest '*) echo "$*" >>'LOG' ;;
  *) PYTHONPATH=MODULES exec {sys.executable} -S "$@" ;;
esac
"""  # noqa: E501


@pytest.fixture
def make(tmp_path):
    """Return a function that runs make in a copy of the tree's set-up files."""
    for name in FILES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    log, modules = tmp_path / 'log', tmp_path / 'modules'
    python = tmp_path / 'fake_python'
    script = PYTHON.replace('LOG', str(log)).replace('MODULES', str(modules))
    python.write_text(script)
    python.chmod(0o755)
    for name in ('torch', 'torchvision'):
        (modules / name).mkdir(parents=True)
        (modules / name / '__init__.py').touch()

    def run(target='test', *variables, **environment):
        environment = {'VERSION': '3.11', 'UNREACHABLE': 'nothing', **environment}
        result = subprocess.run(
            ['make', target, f'PYTHON={python}', *variables],
            cwd=tmp_path,
            env={'PATH': os.environ['PATH'], **environment},
            capture_output=True,
            text=True,
        )
        asked = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return result, asked

    return run


def test_torch_comes_first_then_the_forks_then_the_tree(make):
    result, asked = make('test', 'TORCH_INDEX=https://index/cpu')
    assert result.returncode == 0, result.stderr
    torch, requirements, tree, tests = asked
    assert torch.endswith('--index-url https://index/cpu -r requirements/torch.txt')
    assert requirements.endswith(
        '-r requirements/mminstall.txt -r requirements/runtime.txt '
        '-r requirements/tests.txt'
    )
    assert 'index-url' not in requirements and tree.endswith('--no-deps -e .')
    assert tests.startswith('-m pytest')


def test_second_run_starts_at_once(make, tmp_path):
    make()
    assert [line[:10] for line in make()[1]] == ['-m pytest ']
    (tmp_path / 'requirements' / 'runtime.txt').open('a').write('something-new\n')
    assert len(make()[1]) == 4
    assert len(make('test', 'TORCH_INDEX=https://index/cpu')[1]) == 4


@pytest.mark.parametrize('part', ['torch.txt', 'runtime.txt', '-e .'])
def test_failed_install_is_done_again(make, part):
    result, asked = make(UNREACHABLE=part)
    assert result.returncode and part in asked[-1]
    assert 'no such index' in result.stderr
    assert '[setup] failed: the reason stands above' in result.stderr
    result, asked = make()
    assert result.returncode == 0 and len(asked) == 4


def test_broken_environment_of_ours_is_made_again(make, tmp_path):
    make()
    (tmp_path / '.venv' / 'bin' / 'python').unlink()
    assert len(make()[1]) == 4
    (tmp_path / '.venv' / 'mmvpt-creating').touch()  # broken off inside venv
    next((tmp_path / '.venv').glob('mmvpt-*-tests')).unlink()
    assert len(make()[1]) == 4


def test_environment_of_others_keeps_what_it_has(make, tmp_path):
    other, modules = tmp_path / 'other', tmp_path / 'modules'
    (other / 'bin').mkdir(parents=True)
    shutil.copy(tmp_path / 'fake_python', other / 'bin' / 'python')
    result, (requirements, tree, _) = make('test', f'VENV={other}')
    assert result.returncode == 0 and 'nothing in it is replaced' in result.stdout
    held = f'-c {other}/mmvpt-held.txt'
    assert held in requirements and held in tree
    assert (other / 'mmvpt-held.txt').read_text() == 'torch==2.3.1\n'
    assert 'mminstall.txt' in requirements
    next(other.glob('mmvpt-*-tests')).unlink()
    (modules / 'mmengine').mkdir()
    (modules / 'mmengine' / '__init__.py').touch()
    assert 'mminstall.txt' not in make('test', f'VENV={other}')[1][0]


@pytest.mark.parametrize(
    ('variables', 'environment', 'message'),
    [
        (['PYTHON=no-such-python'], {}, 'no-such-python is not installed'),
        ([], {'VERSION': '3.9'}, 'is Python 3.9, 3.10 or newer is needed'),
        ([], {'NO_VENV': '1'}, 'apt install python3-venv'),
        (['VENV=requirements'], {}, 'requirements is no environment that runs'),
    ],
)
def test_what_is_missing_is_named(make, tmp_path, variables, environment, message):
    result, asked = make('test', *variables, **environment)
    assert result.returncode and message in result.stderr and not asked
    assert sorted(p.name for p in (tmp_path / 'requirements').iterdir()) == sorted(
        p.name for p in (ROOT / 'requirements').iterdir()
    )


def test_torch_that_does_not_load_is_found(make, tmp_path):
    init = tmp_path / 'modules' / 'torchvision' / '__init__.py'
    init.write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    result, asked = make()
    assert 'do not load together' in result.stderr and len(asked) == 1
