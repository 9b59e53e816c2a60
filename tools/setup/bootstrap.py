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
import os
import re
import shutil
import sys
import time
from pathlib import Path

from environment import ROOT, Environment, SetupError, say

REQUIREMENTS = ROOT / 'requirements'
OLDEST_PYTHON = (3, 10)  # the oldest that the default OpenMMLab packages accept
# Free space for a full installation: packages plus what pip unpacks on the way.
SPACE_GB = {'default': 11, 'cpu': 4}
# What the OpenMMLab packages are called when imported, by whoever they come.
OPENMMLAB = ('mmengine', 'mmcv', 'mmpretrain', 'mmseg')


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
            'or leave out the GPU libraries: TORCH_INDEX=<index URL for the CPU>, see '
            'docs/install.md.'
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
        with_torch = not (environment.has('torch') and environment.has('torchvision'))
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
    if environment.ask('import torch, torchvision') is None:
        raise SetupError(
            f'torch and torchvision in {environment.folder} do not load together, '
            'probably since they come from different indexes. Install both from one: '
            f'{environment.python} -m pip install --force-reinstall torch torchvision '
            '(--index-url ...), then run the command again'
        )
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
        torch_index: Index that torch comes from; pip's default if empty.

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
        help='package index for torch and torchvision (default: that of pip)',
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
