# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Make an environment that runs mmvpt: what ``make test`` and ``make demo`` call first.

It needs Python, pip and venv, nothing else, and stays free of newer syntax so that
an old Python gets as far as being told that it is too old.

Order: torch and torchvision from one index, then the OpenMMLab packages with the
requirements of mmvpt, then mmvpt itself, editable. A stamp in the environment, a hash
of all that was asked for, lets the next run start at once. In an environment that this
script did not create, nothing that is installed is replaced.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / 'requirements'
OLDEST_PYTHON = (3, 10)  # the oldest that the default OpenMMLab packages accept
STAMP = 'mmvpt-setup.json'
LOG = 'mmvpt-setup.log'
# Free space for a full installation: packages plus what pip unpacks on the way.
SPACE_GB = {'default': 11, 'cpu': 4}
# What the OpenMMLab packages are called when imported, by whoever they come.
OPENMMLAB = ('mmengine', 'mmcv', 'mmpretrain', 'mmseg')

PIP_FAILURES = (
    (
        r'No space left on device|Errno 28',
        'The disk is full. pip also unpacks into the temporary folder: free some '
        'space, or set VENV=/big/disk/venv and TMPDIR=/big/disk/tmp.',
    ),
    (
        r'NewConnectionError|NameResolutionError|Temporary failure in name resolution'
        r'|ConnectTimeout|ReadTimeout|Network is unreachable|ProxyError'
        r'|Connection refused|SSLError|CERTIFICATE_VERIFY_FAILED',
        'The package index cannot be reached. Check the network; behind a proxy or '
        'with a mirror, set HTTPS_PROXY or PIP_INDEX_URL and run the command again.',
    ),
    (
        r'Could not find a version that satisfies|No matching distribution found',
        'The index has no build of a package for this Python and platform. Try '
        'another Python (make test PYTHON=python3.11 VENV=.venv-3.11).',
    ),
    (
        r'ResolutionImpossible|conflicting dependencies',
        'The environment holds versions that do not fit each other or mmvpt '
        '(python -m pip check lists the former). Leave VENV unset for a fresh one.',
    ),
    (
        r'Permission denied|Read-only file system',
        'The environment cannot be written. Set VENV to a folder that you own.',
    ),
)


class SetupError(Exception):
    """The environment cannot be made; the message says why and what to do."""


def say(text):
    """Print one line at once, marked as ours."""
    print('[setup] ' + text, flush=True)


def check_python(version=sys.version_info):
    """Refuse a Python that the default packages do not support.

    Args:
        version: As in ``sys.version_info``.

    Raises:
        SetupError: If it is older than ``OLDEST_PYTHON``.
    """
    if tuple(version[:2]) < OLDEST_PYTHON:
        raise SetupError(
            'Python {}.{} is too old, {}.{} or newer is needed. Name another one: '
            'make test PYTHON=python3.11'.format(*version[:2], *OLDEST_PYTHON)
        )


def check_space(folder, torch_index, free=None):
    """Refuse to start an installation that cannot fit.

    Args:
        folder: An existing folder on the disk that will hold the environment.
        torch_index: Index that torch comes from, or an empty string.
        free: Free bytes; asked from the disk when omitted.

    Raises:
        SetupError: If fewer bytes are free than an installation takes.
    """
    free = shutil.disk_usage(str(folder)).free if free is None else free
    needed = SPACE_GB['cpu' if torch_index.rstrip('/').endswith('cpu') else 'default']
    if free < needed * 1e9:
        raise SetupError(
            f'{free / 1e9:.1f} GB are free in {folder}, an installation takes about '
            f'{needed} GB. Free some space, name another disk (VENV=/big/disk/venv), '
            'or leave out the GPU libraries '
            '(TORCH_INDEX=https://download.pytorch.org/whl/cpu).'
        )


def fingerprint(groups, torch_index, python):
    """Hash all that decides what gets installed.

    Args:
        groups: Names of the requirement files.
        torch_index: Index that torch comes from, or an empty string.
        python: Version of the interpreter.

    Returns:
        A hexadecimal digest.
    """
    digest = hashlib.sha256()
    for name in [*groups, '../setup.py']:
        path = REQUIREMENTS / (name if '/' in name else name + '.txt')
        digest.update(name.encode() + b'\0' + path.read_bytes() + b'\0')
    digest.update('\0'.join([str(ROOT), torch_index, python]).encode())
    return digest.hexdigest()


def explain(output):
    """Say in one sentence why pip failed.

    Args:
        output: Everything that pip wrote.

    Returns:
        Cause and remedy, or an empty string for a cause that is not known.
    """
    for pattern, meaning in PIP_FAILURES:
        if re.search(pattern, output):
            return meaning
    return ''


class Environment:
    """A virtual (or conda) environment in a folder.

    Args:
        folder: Where it is or will be.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        windows = os.name == 'nt'
        self.python = self.folder / ('Scripts/python.exe' if windows else 'bin/python')

    def ask(self, code):
        """Run ``code`` in the environment and return what it prints, or None."""
        if not self.python.exists():
            return None
        result = subprocess.run(
            [str(self.python), '-I', '-c', code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        return result.stdout.strip() if result.returncode == 0 else None

    def stamp(self):
        """Read what an earlier run left, an empty dict if there was none."""
        try:
            return json.loads((self.folder / STAMP).read_text())
        except (OSError, ValueError):
            return {}

    def write_stamp(self, **content):
        """Record ``content`` for the next run, atomically."""
        scratch = self.folder / (STAMP + '.tmp')
        scratch.write_text(json.dumps(content, indent=1, sort_keys=True) + '\n')
        scratch.replace(self.folder / STAMP)

    def create(self):
        """Create a virtual environment here with the running Python.

        Raises:
            SetupError: If the module venv or pip is missing on this machine, or if
                the folder holds something else.
        """
        if self.folder.exists() and any(self.folder.iterdir()):
            if not (self.folder / 'pyvenv.cfg').exists():
                raise SetupError(
                    f'{self.folder} is not a virtual environment and is not empty. '
                    'Remove it, or name another folder: VENV=...'
                )
            say(f'{self.folder} does not work, creating it again')
        else:
            say(f'creating {self.folder} with Python {sys.version.split()[0]}')
        result = subprocess.run(
            [sys.executable, '-m', 'venv', '--clear', str(self.folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if result.returncode:
            raise SetupError(
                f'python -m venv failed:\n{result.stdout.strip()}\n'
                'On Debian and Ubuntu: apt install python3-venv. Any environment '
                'with pip serves as well: VENV=/path/to/it'
            )
        self.write_stamp(created=True)

    def distributions(self):
        """Return the installed distributions, name to version."""
        found = self.ask(
            'import json; from importlib.metadata import distributions\n'
            "print(json.dumps({d.metadata['Name']: d.version"
            " for d in distributions() if d.metadata['Name']}))"
        )
        return json.loads(found or '{}')

    def has(self, module):
        """Tell whether ``module`` can be found, without importing it."""
        code = 'import importlib.util as u; print(u.find_spec({!r}) is not None)'
        return self.ask(code.format(module)) == 'True'

    def pip(self, what, *arguments):
        """Run ``pip install`` and keep its output in the log.

        Args:
            what: What is being installed, for people.
            *arguments: Passed on to pip.

        Raises:
            SetupError: If pip fails, with the cause where it is a known one.
        """
        say(f'installing {what}')
        command = [str(self.python), '-m', 'pip', 'install', '--progress-bar', 'off']
        output = []
        log = self.folder / LOG
        with log.open('a') as file:
            process = subprocess.Popen(
                [*command, '--disable-pip-version-check', *arguments],
                cwd=str(ROOT),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for line in process.stdout:
                file.write(line)
                output.append(line)
                # Only what takes time: big downloads and the final copying.
                if re.match(
                    r'\s*(Downloading|Using cached) .*\b(\d\d[\d.]* M|G)B\b', line
                ):
                    print('        ' + line.strip(), flush=True)
                elif line.startswith('Installing collected packages'):
                    count = line.count(',') + 1
                    print(f'        installing {count} packages', flush=True)
        if process.wait():
            text = ''.join(output)
            tail = ''.join(output[-12:]).rstrip()
            raise SetupError(
                f'pip could not install {what}:\n{tail}\n'
                f'{explain(text)}\nFull output: {log}'
            )


def missing_requirements(groups, installed):
    """Return the lines of requirement files whose package is not installed.

    Args:
        groups: Names of the requirement files.
        installed: Distributions to leave alone, name to version.
    """

    def plain(name):
        return re.sub(r'[-_.]+', '-', name).lower()

    present = {plain(name) for name in installed}
    missing = []
    for group in groups:
        for line in (REQUIREMENTS / (group + '.txt')).read_text().splitlines():
            line = line.split('#')[0].strip()
            if line and plain(re.match(r'[\w.-]+', line).group()) not in present:
                missing.append(line)
    return missing


def install(environment, groups, torch_index, created):
    """Install torch, the OpenMMLab packages, the requirements and mmvpt.

    Args:
        environment: Where to.
        groups: Names of the requirement files besides torch and mminstall.
        torch_index: Index that torch comes from, or an empty string.
        created: Whether the environment is ours. If not, every distribution in it
            is held at its version, and torch and OpenMMLab packages stay as they are.
    """
    if environment.ask('import pip') is None:
        raise SetupError(
            f'{environment.python} has no pip. Run: {environment.python} -m ensurepip'
        )
    hold, installed = [], {}
    with_torch, with_openmmlab = True, True
    if not created:
        say(f'{environment.folder} was made by others: nothing in it is replaced')
        installed = environment.distributions()
        installed.pop('mmvpt', None)
        constraints = environment.folder / 'mmvpt-constraints.txt'
        constraints.write_text(
            ''.join(f'{name}=={version}\n' for name, version in installed.items())
        )
        hold = ['--constraint', str(constraints)]
        with_torch = not environment.has('torch')
        present = [name for name in OPENMMLAB if environment.has(name)]
        with_openmmlab = not present
        if present and len(present) < len(OPENMMLAB):
            missing = [name for name in OPENMMLAB if name not in present]
            say('uses ' + ', '.join(present) + '; absent: ' + ', '.join(missing))
    if with_torch:
        if not environment.has('torch'):
            check_space(environment.folder, torch_index)
        source = ['--index-url', torch_index] if torch_index else []
        torch = ['-r', str(REQUIREMENTS / 'torch.txt')]
        environment.pip('torch and torchvision', *source, *hold, *torch)
    files = (['mminstall'] if with_openmmlab else []) + list(groups)
    wanted = missing_requirements(files, installed)
    if wanted:
        environment.pip('requirements: ' + ', '.join(files), *hold, *wanted)
    environment.pip('mmvpt (editable)', '--no-deps', '-e', str(ROOT))


def run(venv, groups, torch_index=''):
    """Bring the environment to where ``groups`` are installed, or find that it is.

    Args:
        venv: Its folder; created if absent.
        groups: Names of requirement files, ``runtime`` is always among them.
        torch_index: Index that torch comes from; PyPI if empty.

    Raises:
        SetupError: If it cannot be done.
    """
    check_python()
    groups = sorted({'runtime', *groups})
    environment = Environment(Path(venv).expanduser().absolute())
    version = environment.ask('import sys; print(sys.version)')
    if version is None:
        environment.create()
        version = environment.ask('import sys; print(sys.version)')
    else:
        numbers = re.match(r'(\d+)\.(\d+)', version).groups()
        check_python(tuple(int(number) for number in numbers))
    stamp = environment.stamp()
    done = stamp.get('groups', [])
    wanted = sorted({*groups, *done})
    key = fingerprint(['torch', 'mminstall', *wanted], torch_index, version)
    if stamp.get('key') == key and set(groups) <= set(done):
        say(f'{environment.folder} is up to date')
        return
    start = time.time()
    created = bool(stamp.get('created'))
    install(environment, wanted, torch_index, created)
    environment.write_stamp(created=created, groups=wanted, key=key)
    say(f'{environment.folder} is ready after {time.time() - start:.0f} s')


def main():
    """Read the command line, do it, explain failures in plain words."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--venv', default='.venv', help='folder of the environment')
    parser.add_argument(
        '--torch-index',
        default='',
        metavar='URL',
        help='package index for torch and torchvision (default: PyPI)',
    )
    parser.add_argument(
        'groups', nargs='*', help='requirements/*.txt to install besides runtime'
    )
    args = parser.parse_args()
    unknown = [g for g in args.groups if not (REQUIREMENTS / (g + '.txt')).exists()]
    if unknown:
        parser.error('no such requirements: ' + ', '.join(unknown))
    try:
        if os.name == 'posix':
            # One set-up at a time in this tree; the lock ends with the process.
            import fcntl

            tree = os.open(str(ROOT), os.O_RDONLY)
            fcntl.flock(tree, fcntl.LOCK_EX)
        run(args.venv, args.groups, args.torch_index)
    except (SetupError, OSError) as error:
        sys.exit(f'[setup] failed: {error}')
    except KeyboardInterrupt:
        sys.exit('[setup] interrupted; run the command again to go on')


if __name__ == '__main__':
    main()
