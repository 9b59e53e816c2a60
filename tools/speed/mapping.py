#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The time of DA-VPT's grouping of classes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmvpt.bench.speed.mapping import main  # noqa: E402

if __name__ == '__main__':
    main()
