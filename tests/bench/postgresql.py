# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A PostgreSQL server of its own for tests."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def programs():
    """Return the folder of the server's programs, the newest; None without."""
    found = shutil.which('initdb')
    folders = sorted(Path('/usr/lib/postgresql').glob('*/bin'))
    return Path(found).resolve().parent if found else next(reversed(folders), None)


@contextlib.contextmanager
def server():
    """Run a server and yield the address of its database."""
    binaries = programs()
    if binaries is None:
        pytest.skip('no PostgreSQL server here: apt-get install postgresql')
    pytest.importorskip('psycopg2')
    with tempfile.TemporaryDirectory() as folder:  # short: a socket lies in it
        user = []
        if os.geteuid() == 0:  # which the server refuses
            user = ['runuser', '-u', 'postgres', '--']
            shutil.chown(folder, 'postgres')

        def call(name, *words):
            command = [*user, str(binaries / name), '-D', f'{folder}/data', *words]
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)

        call('initdb', '-A', 'trust', '-U', 'mmvpt')
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -F"
        call('pg_ctl', '-w', '-l', f'{folder}/log', '-o', options, 'start')
        try:
            yield f'postgresql+psycopg2://mmvpt@/postgres?host={folder}'
        finally:
            call('pg_ctl', '-w', '-m', 'immediate', 'stop')
