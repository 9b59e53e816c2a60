#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Operations, times and memory of prompt methods, each against its rivals."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmvpt.bench.speed.speed import main  # noqa: E402

if __name__ == '__main__':
    main()
