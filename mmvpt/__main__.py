# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""``mmvpt COMMAND ...`` and ``python -m mmvpt COMMAND ...``: the programs of tools/."""

from __future__ import annotations

import difflib
import importlib.util
import runpy
import sys
from collections.abc import Sequence

from mmvpt.errors import run_tool
from mmvpt.files import ROOT


def main(argv: Sequence[str] | None = None) -> None:
    """Run one of the programs in ``tools``, in a checkout or an installed package.

    Args:
        argv: The command, such as ``train`` or ``data/prepare``, and its arguments;
            those of the process by default.
    """
    tools = ROOT / 'tools'
    commands = sorted(
        path.relative_to(tools).with_suffix('').as_posix()
        for path in tools.rglob('*.py')
        if "__name__ == '__main__'" in path.read_text(encoding='utf-8')
    )
    name, *rest = (sys.argv[1:] if argv is None else argv) or ['--help']
    if name in ('-h', '--help'):
        print('usage: mmvpt COMMAND ...\n\ncommands (each takes --help):')
        print('\n'.join(f'  {command}' for command in commands))
        return
    if name not in commands:
        near = difflib.get_close_matches(name, commands) or commands
        sys.exit(f'mmvpt: error: no command {name!r}; there are {", ".join(near)}')
    absent = [n for n in ('torch', 'mmengine') if importlib.util.find_spec(n) is None]
    if absent:
        sys.exit(
            f'mmvpt: error: {" and ".join(absent)} not installed. Install torch and '
            "torchvision, then the OpenMMLab packages: pip install 'mmvpt[mim]'."
        )
    sys.argv = [str(tools / f'{name}.py'), *rest]
    run_tool(runpy.run_path(sys.argv[0])['main'])


if __name__ == '__main__':
    main()
