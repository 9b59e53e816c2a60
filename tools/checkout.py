# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Lets the tools of a checkout run without installation; imported by each of them.

Python puts the folder of a script first on its path, so this is found from tools/ and,
as a link, from each folder in it. Tools import mmvpt when they run and not before, so
that this comes first.
"""

import sys
from pathlib import Path

for folder in Path(__file__).resolve().parents:
    if (folder / 'mmvpt' / '__init__.py').is_file():
        sys.path.insert(0, str(folder))
        break

from mmvpt.errors import run_tool  # noqa: E402

__all__ = ['run_tool']
