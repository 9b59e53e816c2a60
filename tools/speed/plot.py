#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Plots of what speed.py measured."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmvpt.bench.speed.plot import main  # noqa: E402

if __name__ == '__main__':
    main()
