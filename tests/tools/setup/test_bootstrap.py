# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What make test and make demo do before anything is installed; pip never runs here."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def bootstrap(monkeypatch, tmp_path):
    """Import the script, with requirement files of its own and no real pip."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'setup'))
    import bootstrap
    import environment

    shutil.copytree(ROOT / 'requirements', tmp_path / 'tree' / 'requirements')
    shutil.copy(ROOT / 'setup.py', tmp_path / 'tree')
    requirements = tmp_path / 'tree' / 'requirements'
    monkeypatch.setattr(bootstrap, 'REQUIREMENTS', requirements)
    monkeypatch.setattr(bootstrap, 'check_space', lambda *args: None)
    bootstrap.calls = []

    def pip(self, what, *arguments):
        bootstrap.calls.append((what, arguments))

    real = environment.Environment.ask

    def ask(self, code):
        return '' if code == 'import torch, torchvision' else real(self, code)

    monkeypatch.setattr(environment.Environment, 'pip', pip)
    monkeypatch.setattr(environment.Environment, 'ask', ask)
    bootstrap.real_ask = real
    return bootstrap


@pytest.fixture(scope='module')
def blank(tmp_path_factory):
    """Make one virtual environment for all tests here."""
    folder = tmp_path_factory.mktemp('blank') / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', str(folder)], check=True)
    return folder


@pytest.fixture
def foreign(blank):
    """Give an environment that somebody else made, without our traces."""
    yield blank
    for path in blank.glob('mmvpt-*'):
        path.unlink()
    for path in blank.glob('lib/python*/site-packages/fake_*'):
        shutil.rmtree(path)
    for name in ('torch', 'torchvision', 'mmengine'):
        for path in blank.glob(f'lib/python*/site-packages/{name}'):
            shutil.rmtree(path)


def pretend(folder, name, version):
    """Put an empty package with metadata into an environment."""
    (site,) = folder.glob('lib/python*/site-packages')
    (site / name).mkdir()
    (site / name / '__init__.py').write_text('')
    info = site / f'fake_{name}-{version}.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(
        f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'
    )


def test_old_python_is_named(bootstrap):
    with pytest.raises(bootstrap.SetupError, match='Python 3.8 is too old, 3.10'):
        bootstrap.check_python((3, 8, 18))
    bootstrap.check_python((3, 10, 0))


def test_lack_of_space_names_the_ways_out(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / 'tools' / 'setup'))
    import bootstrap

    with pytest.raises(bootstrap.SetupError, match='1.0 GB are free.*TORCH_INDEX'):
        bootstrap.check_space(tmp_path, '', free=1e9)
    bootstrap.check_space(tmp_path, 'https://index/whl/cpu', free=5e9)
    with pytest.raises(bootstrap.SetupError):
        bootstrap.check_space(tmp_path, '', free=5e9)


@pytest.mark.parametrize(
    ('output', 'meaning'),
    [
        ('OSError: [Errno 28] No space left on device', 'disk is full'),
        ('NewConnectionError: Temporary failure in name resolution', 'network'),
        ('ERROR: No matching distribution found for torch', 'no build of a package'),
        ('ERROR: ResolutionImpossible: for help visit', 'do not fit'),
        ("[Errno 13] Permission denied: '/x'", 'cannot be written'),
    ],
)
def test_failures_of_pip_are_explained(bootstrap, output, meaning):
    import environment

    assert meaning in environment.explain('Collecting torch\n' + output)
    assert environment.explain('something new') == ''


def test_second_run_installs_nothing(bootstrap, tmp_path):
    venv = tmp_path / 'venv'
    bootstrap.run(venv, ['tests'])
    assert [what for what, _ in bootstrap.calls] == [
        'torch and torchvision',
        'requirements: mminstall, runtime, tests',
        'mmvpt (editable)',
    ]
    assert not any('--constraint' in arguments for _, arguments in bootstrap.calls)
    bootstrap.calls.clear()
    bootstrap.run(venv, ['tests'])
    bootstrap.run(venv, [])
    assert bootstrap.calls == []
    with (bootstrap.REQUIREMENTS / 'runtime.txt').open('a') as file:
        file.write('something-new\n')
    bootstrap.run(venv, [])
    assert 'something-new' in bootstrap.calls[1][1]
    assert 'pytest' in bootstrap.calls[1][1], 'what is there stays part of the request'


def test_failed_run_is_taken_up_again(bootstrap, foreign, monkeypatch):
    def fail(self, what, *arguments):
        raise bootstrap.SetupError('no network')

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap.Environment, 'pip', fail)
        with pytest.raises(bootstrap.SetupError):
            bootstrap.run(foreign, [])
    bootstrap.run(foreign, [])
    assert len(bootstrap.calls) == 3


def test_foreign_environment_keeps_what_it_has(bootstrap, foreign):
    pretend(foreign, 'torch', '2.3.1')
    pretend(foreign, 'torchvision', '0.18.1')
    pretend(foreign, 'mmengine', '0.10.7')
    bootstrap.run(foreign, [])
    (requirements, asked), (mmvpt, editable) = bootstrap.calls
    assert requirements == 'requirements: runtime'
    assert not [a for a in asked if 'mm' in a and 'constraints' not in a]
    constraints = Path(asked[asked.index('--constraint') + 1]).read_text()
    assert {'torch==2.3.1', 'mmengine==0.10.7'} <= set(constraints.split())
    assert mmvpt == 'mmvpt (editable)' and '--no-deps' in editable
    assert bootstrap.missing_requirements(
        ['runtime'], {'NumPy': '2', 'scikit_learn': '1'}
    ) == [line for line in asked[2:] if line not in ('numpy', 'scikit-learn')]


def test_folder_with_other_things_is_left_alone(bootstrap, tmp_path):
    (tmp_path / 'venv').mkdir()
    (tmp_path / 'venv' / 'thesis.txt').write_text('precious')
    with pytest.raises(bootstrap.SetupError, match='is not a virtual environment'):
        bootstrap.run(tmp_path / 'venv', [])
    assert (tmp_path / 'venv' / 'thesis.txt').exists()


def test_environment_without_pip_is_named(bootstrap, tmp_path):
    venv = tmp_path / 'venv'
    command = [sys.executable, '-m', 'venv', '--without-pip', str(venv)]
    subprocess.run(command, check=True)
    with pytest.raises(bootstrap.SetupError, match='no pip'):
        bootstrap.run(venv, [])


def test_torch_that_does_not_load_is_found(bootstrap, foreign, monkeypatch):
    pretend(foreign, 'torch', '2.3.1')
    pretend(foreign, 'torchvision', '0.99')
    (init,) = foreign.glob('lib/python*/site-packages/torchvision/__init__.py')
    init.write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.setattr(bootstrap.Environment, 'ask', bootstrap.real_ask)
    with pytest.raises(bootstrap.SetupError, match='do not load together'):
        bootstrap.run(foreign, [])
    assert bootstrap.calls == []
