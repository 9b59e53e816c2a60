#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What data costs beside a training step."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmvpt.bench.speed.data import main  # noqa: E402

if __name__ == '__main__':
    main()
