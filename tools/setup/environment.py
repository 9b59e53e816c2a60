# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""An environment in a folder, as bootstrap.py sees it: ask it, create it, pip in it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAMP = 'mmvpt-setup.json'
LOG = 'mmvpt-setup.log'

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
            telling = [line for line in output if 'Retrying (Retry' not in line]
            tail = ''.join(telling[-12:]).rstrip()
            raise SetupError(
                f'pip could not install {what}:\n{tail}\n'
                f'{explain(text)}\nFull output: {log}'
            )
