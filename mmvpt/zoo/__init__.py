# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Configs of the zoo as data: published settings in tables, written as config files."""
