# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Loops."""

from .converged_probe_loop import ConvergedProbeLoop

__all__ = ['ConvergedProbeLoop']
