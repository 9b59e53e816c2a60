# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Write requirements/lock.txt: the versions in this environment that requirements need.

``make lock`` runs it in the environment of the tests. Packages that a requirement
brings in are in it, packages that nothing here asks for are not.
"""

import platform
import re
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).resolve().parent
# upstream.txt stands for mminstall.txt and is never installed beside it.
GROUPS = ('torch', 'mminstall', 'runtime', 'optional', 'tests', 'sweep', 'docs', 'dev')


def requirements() -> list[Requirement]:
    """Return what ``requirements/*.txt`` ask for, but for ``upstream.txt``."""
    text = '\n'.join((HERE / f'{group}.txt').read_text() for group in GROUPS)
    lines = (line.split('#')[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith('-r')]


def closure(wanted: list[Requirement]) -> dict[str, str]:
    """Return name and version of what is installed for these requirements."""
    found: dict[str, str] = {}
    asked, queue = set(), [(wish, extra) for wish in wanted for extra in _extras(wish)]
    while queue:
        wish, extra = queue.pop()
        name = re.sub(r'[-_.]+', '-', wish.name).lower()
        if (name, extra) in asked:
            continue
        asked.add((name, extra))
        package = distribution(name)
        # +cpu, +cu130: which build it is differs from machine to machine
        found[name] = package.version.split('+')[0]
        for line in package.requires or ():
            further = Requirement(line)
            if further.marker is None or further.marker.evaluate({'extra': extra}):
                queue += [(further, one) for one in _extras(further)]
    return found


def _extras(wish: Requirement) -> list[str]:
    return ['', *wish.extras]


if __name__ == '__main__':
    versions = closure(requirements())
    head = (
        f'# Written by `make lock` with Python {platform.python_version()} on '
        f'{platform.system()}: versions that passed the tests.\n'
        '# Users get the ranges of the other files; PIP_CONSTRAINT brings these.\n'
    )
    lines = sorted(f'{name}=={version}\n' for name, version in versions.items())
    (HERE / 'lock.txt').write_text(head + ''.join(lines))
    print(f'requirements/lock.txt: {len(lines)} packages')
