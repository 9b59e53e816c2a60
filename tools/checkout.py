# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Lets the tools of a checkout run without installation; a link in each folder."""

import sys
from pathlib import Path

roots = [
    p for p in Path(__file__).resolve().parents if (p / 'mmvpt/__init__.py').exists()
]
sys.path[:0] = map(str, roots[:1])  # tools import mmvpt when they run, not before

from mmvpt.errors import run_tool  # noqa: E402, F401
