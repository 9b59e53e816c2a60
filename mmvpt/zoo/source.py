# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Config files as text, laid out as ``ruff format`` does."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

WIDTH = 88
INDENT = '    '


class Code(str):
    """Source text that is written as it is."""


def render(value: Any, indent: str = '', taken: int = 0) -> str:
    """Return ``value`` as source.

    Args:
        value: Dicts (written as calls of ``dict``), lists, tuples, Code and literals.
        indent: Indentation of the line that it starts in.
        taken: Characters that stand on this line besides the value and the indent.
    """
    line = one_line(value)
    if len(indent) + taken + len(line) <= WIDTH or not value:
        return line
    if isinstance(value, dict):
        opening, _, closing = _brackets(value)
        items = [(_key(value, name), item) for name, item in value.items()]
    elif isinstance(value, (list, tuple)):
        opening, closing = '()' if isinstance(value, tuple) else '[]'
        items = [('', item) for item in value]
    else:
        return line
    inner = indent + INDENT
    body = line[len(opening) : -len(closing)]
    called = opening == 'dict('
    if called and len(inner) + len(body) <= WIDTH:
        return f'{opening}\n{inner}{body}\n{indent}{closing}'
    comma = ',' if len(items) > 1 or not called else ''
    lines = [
        f'{inner}{name}{render(item, inner, len(name) + len(comma))}{comma}\n'
        for name, item in items
    ]
    return f'{opening}\n{"".join(lines)}{indent}{closing}'


def _brackets(value: dict) -> tuple[str, str, str]:
    """Return what a dict is written with: opening, after a key, closing."""
    if all(name.isidentifier() for name in value):
        return 'dict(', '=', ')'
    return '{', ': ', '}'


def _key(value: dict, name: str) -> str:
    opening, between, _ = _brackets(value)
    return f'{name if opening == "dict(" else repr(name)}{between}'


def one_line(value: Any) -> str:
    """Return ``value`` as source on one line."""
    if isinstance(value, Code):
        return str(value)
    if isinstance(value, dict):
        opening, _, closing = _brackets(value)
        items = (f'{_key(value, k)}{one_line(item)}' for k, item in value.items())
        return f'{opening}{", ".join(items)}{closing}'
    if isinstance(value, list):
        return f'[{", ".join(map(one_line, value))}]'
    if isinstance(value, tuple):
        joined = ', '.join(map(one_line, value))
        return f'({joined},)' if len(value) == 1 else f'({joined})'
    return repr(value)


def comment(paragraphs: Sequence[str]) -> str:
    """Return paragraphs as comment lines; commands are not wrapped."""
    lines = []
    for paragraph in paragraphs:
        wrapped = [paragraph]
        if not paragraph.startswith(('Run: ', 'Written by: python')):
            wrapped = textwrap.wrap(
                paragraph, WIDTH - 2, break_on_hyphens=False, break_long_words=False
            )
        lines += [f'# {line}\n' for line in wrapped]
    return ''.join(lines)


def config(head: Sequence[str], bases: Sequence[str], settings: dict[str, Any]) -> str:
    """Return the text of a config file.

    Args:
        head: Paragraphs of the comment it starts with.
        bases: Files that it inherits, relative to its folder.
        settings: What it assigns, by name.
    """
    if len(bases) == 1:
        inherited = one_line(list(bases))
    else:
        lines = ''.join(f'{INDENT}{base!r},\n' for base in bases)
        inherited = f'[\n{lines}]'
    text = f'{comment(head)}_base_ = {inherited}\n'
    if settings:
        text += '\n'
    for name, value in settings.items():
        text += f'{name} = {render(value, taken=len(name) + 3)}\n'
    return text
