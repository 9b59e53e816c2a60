# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The form of records, and its check.

A form is a type; None; a range of integers; a set of values; a tuple of forms of which
one fits; ``[form]`` for a list; ``{str: form}`` for an object with any fields; or the
fields of an object, where those with '?' may be absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

FORMAT = 'mmvpt-record'
#: Raised when a field changes its meaning or a required one is added; records from
#: before a field was added lack it, so that it is optional.
VERSION = 1
#: Fields that say which run it is.
NAMES = ('suite', 'task', 'group', 'method', 'backbone', 'config', 'metric')

_COUNT = range(2**63)
_METRICS = ({str: float}, None)
_PART = (
    {
        'images': range(1, 2**63),
        'sha256': str,
        'bytes?': _COUNT,  # of all image files and label maps
    },
    None,
)
_PROTOCOL = {
    'name': str,
    'summary': str,
    'leak_free': bool,
    'label': {'', 'test-selected'},
    'selection': {'last', 'best-val', 'best-test'},
    'train_split': (str, None),
    'search_splits': ([str], None),
    'seeds': [int],  # of the command that made the record
    'protocol_seeds?': [int],  # those that the protocol asks for
    'test_reads': {'once', 'every epoch', 'never'},
    # sha256: 'unknown' if fetched from a URL or by timm
    'checkpoint': {'name': (str, None), 'sha256': (str, None)},
    'normalisation': dict,
    'transforms': {str: list},
    'train_batch?': {
        'images_per_step': (int, None),  # None: the loop has steps of its own
        'batch_size': (int, None),  # of one process
        'world_size': _COUNT,
        'accumulation': _COUNT,
    },
}
_DATA = {
    'train': _PART,
    'val': _PART,
    'test': _PART,
    'overlaps': {str: _COUNT},
    'duplicates': _COUNT,
    'accepted_duplicates': _COUNT,
}
_CODE = {
    'version': str,
    'commit': (str, None),
    'modified': (bool, None),
    'packages': {str: str},
}
#: What differs from one execution to the next of the same run.
_MEASURED = {
    # of a run: its training, in all its parts if it was resumed; of a search: the
    # command that completed it
    'seconds': float,
    # bytes; None for a search, whose trials run in several processes
    'peak_memory': (int, None),
    'device': str,
    'finished': str,
    # how often the test at the end was started: more than once if a kill came between
    # the test and the file that keeps its result
    'test_reads?': _COUNT,
}
_HEAD = {
    'format': {FORMAT},
    'version': {VERSION},
    **dict.fromkeys(NAMES, str),
    'fingerprint': str,  # of config, overrides, protocol, seed, checkpoint and data
    'protocol': _PROTOCOL,
    'data': _DATA,
    'code': _CODE,
    'measured': _MEASURED,
    'overrides': dict,
}
_TRIAL = {
    'slot': _COUNT,
    'overrides': dict,
    'state': {'complete', 'pruned', 'diverged'},
    'value': (float, None),
    'steps': {str: float},  # validations on the way
    'cost': float,  # epochs or iterations trained
}
SCHEMAS: dict[str, dict[str, Any]] = {
    'run': {
        **_HEAD,
        'kind': {'run'},
        'seed': int,
        'settings': dict,  # those of the overrides that a search has chosen
        'metrics': {'val': _METRICS, 'test': _METRICS},
        'tuned_parameters': _COUNT,
        'head_parameters': _COUNT,
        'total_parameters': _COUNT,
    },
    'search': {
        **_HEAD,
        'kind': {'search'},
        'space': dict,
        'strategy': dict,
        'trials': [_TRIAL],
        'best': _TRIAL,
    },
}
_TYPES = {
    str: 'string',
    float: 'number',
    int: 'integer',
    bool: 'boolean',
    type(None): 'null',
    dict: 'object',
    list: 'array',
}


def problems(value: Any, form: Any, place: str = 'record') -> Iterator[str]:
    """Yield what does not fit.

    Args:
        value: Parsed JSON.
        form: See the head of this file.
        place: Where the value stands, for the message.
    """
    if isinstance(form, set):
        if not isinstance(value, (str, int)) or value not in form:
            yield f'{place} is {value!r}, expected one of {sorted(form)}'
        return
    forms = {_type(f): f for f in (form if isinstance(form, tuple) else (form,))}
    kind = type(value)
    if kind not in forms and not (kind is int and float in forms):
        names = ' or '.join(_TYPES[known] for known in forms)
        yield f'{place} is {kind.__name__}, expected {names}'
        return
    form = forms.get(kind)
    if isinstance(form, range) and value < form.start:
        yield f'{place} is {value}, expected at least {form.start}'
    elif isinstance(form, list):
        for i, item in enumerate(value):
            yield from problems(item, form[0], f'{place}.{i}')
    elif isinstance(form, dict):
        yield from _field_problems(value, form, place)


def _type(form: Any) -> type:
    """Return the type of what a form describes."""
    if isinstance(form, range):
        return int
    return form if isinstance(form, type) else type(form)


def _field_problems(
    value: Mapping[str, Any], form: Mapping[Any, Any], place: str
) -> Iterator[str]:
    known = {str(name).rstrip('?'): f for name, f in form.items()}
    for name in form:
        if isinstance(name, str) and not name.endswith('?') and name not in value:
            yield f'{place}.{name} is missing'
    for name, item in value.items():
        if str in form or name in known:
            yield from problems(item, form.get(str, known.get(name)), f'{place}.{name}')
        else:
            yield f'{place}.{name} is unknown'
