#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Search hyper-parameters on the validation split.

Trials lie in a database, by default a file. The same command, on this or another
machine, joins the search; run again after an interruption, it continues it. The best
settings are written as a config, the search as a record. Test data is not read.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> dict | None:
    """Search, and return the record, None after --preview."""
    from mmvpt.command_line import SEARCH, declared, parser_of, table
    from mmvpt.engine.config_file import load_config
    from mmvpt.engine.early_checks import RUNNER

    search = declared('mmvpt.bench.search:search')
    protocols = table('bench/protocols.yml').items()
    parser = parser_of(
        __doc__,
        search,
        declared('mmvpt.bench.settings:Settings'),
        **{**SEARCH, 'strategy': dict(SEARCH['strategy'], default='grid')},
        seeds=None,
        protocol=dict(choices=[name for name, p in protocols if p['searches']]),
    )
    args = parser.parse_args(argv)
    if args.strategy != 'fixed' and not args.space:
        parser.error(
            '--space is needed, unless --strategy fixed tries the config alone'
        )
    load_config(args.config, args.cfg_options, RUNNER)  # told before any import
    return search(**vars(args))


if __name__ == '__main__':
    from checkout import run_tool

    run_tool(main)
