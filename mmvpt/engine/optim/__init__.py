# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Optimizer wrappers and their constructors."""
