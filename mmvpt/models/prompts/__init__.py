# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Prompt methods: one paper, one file, one registered class."""
