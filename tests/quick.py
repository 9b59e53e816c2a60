# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What lets tiny runs be quick, in the tests' process and in those that they start."""

import mmengine.runner.runner
import pytest
import yapf.yapflib.yapf_api


def spare():
    """Spare runs what takes longer than they do.

    A report of compilers and drivers, and formatting the config that goes into logs and
    checkpoints.
    """
    mmengine.runner.runner.collect_env = dict
    yapf.yapflib.yapf_api.FormatCode = lambda text, *_, **__: (text, True)


def asked(request, name, table):
    """Return the entries of ``table`` that collected tests of a module ask for.

    Args:
        request: Of a fixture of the module.
        name: The parameter whose values are keys of the table.
        table: What a sweep goes through.
    """
    keys = {
        item.callspec.params.get(name)
        for item in request.session.items
        if item.path == request.path and hasattr(item, 'callspec')
    }
    return {key: value for key, value in table.items() if key in keys}


def swept(table, *kept):
    """Return the keys of ``table`` as parameters, all but ``kept`` for the sweep."""
    return [
        pytest.param(key, marks=() if key in kept else pytest.mark.sweep)
        for key in table
    ]
