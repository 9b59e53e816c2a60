# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A training that makes weights for others, and has no record of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmvpt.engine.run import train

from .console import console
from .finals import validated


def pretrain(spec: Mapping[str, Any]) -> dict[str, float]:
    """Train a config.

    Args:
        spec: ``config``, ``options`` and ``work_dir``.

    Returns:
        The last validation metrics.
    """
    with console(Path(spec['work_dir'])):
        runner = train(
            spec['config'],
            cfg_options=spec['options'],
            work_dir=spec['work_dir'],
            overwrite=True,
        )
        return validated(runner)
