#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Train a config of mmpretrain's or mmsegmentation's scope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def main(argv: Sequence[str] | None = None) -> Any:
    """Train, and return the runner."""
    from mmvpt.command_line import DISTRIBUTED, declared, parser_of
    from mmvpt.engine.config_file import load_config
    from mmvpt.engine.early_checks import RUNNER

    train = declared('mmvpt.engine.run:train')
    training_config = declared('mmvpt.engine.run_config:training_config')
    resume = dict(default=None, nargs='?', const='auto', metavar='PATH')
    parser = parser_of(__doc__, train, training_config, resume=resume, **DISTRIBUTED)
    args = parser.parse_args(argv)
    if args.overwrite and args.resume:
        parser.error('--overwrite deletes what --resume continues; give one of them')
    load_config(args.config, args.cfg_options, RUNNER)  # told before any import
    return train(**vars(args))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
