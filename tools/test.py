#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Test a checkpoint with a config of mmpretrain's or mmsegmentation's scope."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Test, and return the metrics."""
    from mmvpt.command_line import DISTRIBUTED, declared, parser_of
    from mmvpt.engine.config_file import load_config
    from mmvpt.engine.early_checks import FIELDS, TRAINED

    test = declared('mmvpt.engine.run:test')
    testing_config = declared('mmvpt.engine.run_config:testing_config')
    items = dict(choices=['metrics', 'pred'])
    parser = parser_of(__doc__, test, testing_config, out_item=items, **DISTRIBUTED)
    args = parser.parse_args(argv)
    replaced = ('test_dataloader',) * args.tta  # its pipeline is
    checked = FIELDS.keys() - TRAINED - {*replaced}
    load_config(args.config, args.cfg_options, checked)  # told before any import
    return test(**vars(args))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
