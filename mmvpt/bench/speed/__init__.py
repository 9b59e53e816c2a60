# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Speed and memory. The program ``tools/benchmark.py`` beside it measures accuracy."""
