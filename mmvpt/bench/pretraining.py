# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A training that makes weights for others, and has no record of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmvpt.engine.checks import merge_options

from .console import console
from .finals import validated


def pretrain(spec: Mapping[str, Any]) -> dict[str, float]:
    """Train a config.

    Args:
        spec: ``config``, ``options`` and ``work_dir``.

    Returns:
        The last validation metrics.
    """
    from tools.train import main as train

    def prepare(config: Config) -> None:
        merge_options(config, dict(spec['options']))

    with console(Path(spec['work_dir'])):
        where = ['--work-dir', spec['work_dir'], '--overwrite']
        return validated(train([spec['config'], *where], prepare))
