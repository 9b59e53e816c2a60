# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Metric losses that guide prompts."""
