# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The tools as modules."""

import importlib.util

from tests.engine.miniature import ROOT


def load_tool(name):
    """Import a file of tools/ without running it."""
    path = ROOT / 'tools' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'{name}_tool', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


train_tool, test_tool = load_tool('train'), load_tool('test')


def options(*changes):
    """Return the arguments that change a config."""
    return ('--cfg-options', *changes) if changes else ()
