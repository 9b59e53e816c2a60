# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Samplers whose draws carry the seed of their augmentation."""
