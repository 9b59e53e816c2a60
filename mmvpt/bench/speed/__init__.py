# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Speed and memory; accuracy is measured by ``mmvpt.bench.benchmark``."""
