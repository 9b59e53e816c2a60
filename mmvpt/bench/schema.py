# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The check of the form of records, which schema.yml describes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.fileio import load

_SCHEMA = load(Path(__file__).with_suffix('.yml'))
_FORMS: dict[str, Any] = _SCHEMA['forms']
FORMAT: str = _SCHEMA['format']
VERSION: int = _SCHEMA['version']
#: Fields that say which run it is.
NAMES = tuple(_SCHEMA['names'])
SCHEMAS: dict[str, dict[str, Any]] = {
    kind: {**_SCHEMA['head'], **dict.fromkeys(NAMES, 'string'), **own}
    for kind, own in _SCHEMA['kinds'].items()
}
#: What Python has for the types of JSON; counts and the like have a least number.
_TYPES: dict[str, tuple[type, ...]] = dict(
    string=(str,),
    number=(float, int),
    **dict.fromkeys(('integer', 'count', 'positive'), (int,)),
    boolean=(bool,),
    null=(type(None),),
    object=(dict,),
    array=(list,),
)
_LEAST = dict(count=0, positive=1)


def problems(value: Any, form: Any, place: str = 'record') -> Iterator[str]:
    """Yield what does not fit.

    Args:
        value: Parsed JSON.
        form: See the head of schema.yml.
        place: Where the value stands, for the message.
    """
    if isinstance(form, list):
        if not isinstance(value, (str, int)) or value not in form:
            yield f'{place} is {value!r}, expected one of {sorted(form)}'
        return
    names = form.split(' or ') if isinstance(form, str) else [form]
    for one in (_FORMS.get(n, n) if isinstance(n, str) else n for n in names):
        if type(value) in _TYPES[one if isinstance(one, str) else _kind(one)]:
            yield from _problems_inside(value, one, place)
            return
    named = form if isinstance(form, str) else _kind(form)
    yield f'{place} is {type(value).__name__}, expected {named}'


def _kind(form: dict[str, Any]) -> str:
    return 'array' if 'items' in form else 'object'


def _problems_inside(value: Any, form: Any, place: str) -> Iterator[str]:
    """Yield what does not fit in a value of the right type."""
    if isinstance(form, str):
        if form in _LEAST and value < _LEAST[form]:
            yield f'{place} is {value}, expected at least {_LEAST[form]}'
        return
    if 'items' in form:
        for i, item in enumerate(value):
            yield from problems(item, form['items'], f'{place}.{i}')
        return
    known = {name.rstrip('?'): inner for name, inner in form.items()}
    for name in form:
        if name != '*' and not name.endswith('?') and name not in value:
            yield f'{place}.{name} is missing'
    for name, item in value.items():
        if name in known or '*' in known:
            inner = known.get(name, known.get('*'))
            yield from problems(item, inner, f'{place}.{name}')
        else:
            yield f'{place}.{name} is unknown'
