# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""One file per family of raw data; each returns :class:`~..task.Pools`."""
