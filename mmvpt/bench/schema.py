# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The form of records, as a subset of JSON Schema, and its check."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

FORMAT = 'mmvpt-record'
#: Raised when a field changes its meaning or a required one is added; records from
#: before a field was added lack it, so that it is optional.
VERSION = 1

_TEXT = {'type': 'string'}
_NUMBER = {'type': 'number'}
_COUNT = {'type': 'integer', 'minimum': 0}
_DIGEST = {'type': ['string', 'null']}
_SIZE = {'type': ['integer', 'null']}
_INTEGERS = {'type': 'array', 'items': {'type': 'integer'}}
_OPEN = {'type': 'object'}
_METRICS = {'type': ['object', 'null'], 'values': _NUMBER}


def _fields(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """Return the schema of an object with these fields and no others."""
    return {
        'type': 'object',
        'required': list(required),
        'properties': {**required, **optional},
        'additionalProperties': False,
    }


_PART = {
    **_fields(
        {'images': {'type': 'integer', 'minimum': 1}, 'sha256': _TEXT},
        bytes=_COUNT,  # of all image files and label maps
    ),
    'type': ['object', 'null'],
}
_PROTOCOL = _fields(
    {
        'name': _TEXT,
        'summary': _TEXT,
        'leak_free': {'type': 'boolean'},
        'label': {'enum': ['', 'test-selected']},
        'selection': {'enum': ['last', 'best-val', 'best-test']},
        'train_split': {'type': ['string', 'null']},
        'search_splits': {'type': ['array', 'null'], 'items': _TEXT},
        'seeds': _INTEGERS,  # of the session that made the record
        'test_reads': {'enum': ['once', 'every epoch', 'never']},
        'checkpoint': _fields(  # sha256: 'unknown' if fetched from a URL or by timm
            {'name': {'type': ['string', 'null']}, 'sha256': _DIGEST}
        ),
        'normalisation': _OPEN,
        'transforms': {'type': 'object', 'values': {'type': 'array'}},
    },
    protocol_seeds=_INTEGERS,  # those that the protocol asks for
    train_batch=_fields(
        {
            'images_per_step': _SIZE,  # null: the loop has steps of its own
            'batch_size': _SIZE,  # of one process
            'world_size': _COUNT,
            'accumulation': _COUNT,
        }
    ),
)
_DATA = _fields(
    {
        'train': _PART,
        'val': _PART,
        'test': _PART,
        'overlaps': {'type': 'object', 'values': _COUNT},
        'duplicates': _COUNT,
        'accepted_duplicates': _COUNT,
    }
)
_CODE = _fields(
    {
        'version': _TEXT,
        'commit': {'type': ['string', 'null']},
        'modified': {'type': ['boolean', 'null']},
        'packages': {'type': 'object', 'values': _TEXT},
    }
)
#: What differs from one execution to the next of the same run.
_MEASURED = _fields(
    {
        # of a run: its training, in all its parts if it was resumed; of a search: the
        # session that completed it
        'seconds': _NUMBER,
        # bytes; null for a search, whose trials run in several processes
        'peak_memory': _SIZE,
        'device': _TEXT,
        'finished': _TEXT,
    },
    # how often the test at the end was started: more than once if a kill came between
    # the test and the file that keeps its result
    test_reads=_COUNT,
)
_HEAD = {
    'format': {'enum': [FORMAT]},
    'version': {'enum': [VERSION]},
    'suite': _TEXT,
    'task': _TEXT,
    'group': _TEXT,
    'method': _TEXT,
    'backbone': _TEXT,
    'config': _TEXT,
    'metric': _TEXT,
    'protocol': _PROTOCOL,
    'data': _DATA,
    'code': _CODE,
    'measured': _MEASURED,
}
_TRIAL = _fields(
    {
        'slot': _COUNT,
        'overrides': _OPEN,
        'state': {'enum': ['complete', 'pruned', 'diverged']},
        'value': {'type': ['number', 'null']},
        'steps': {'type': 'object', 'values': _NUMBER},  # validations on the way
        'cost': _NUMBER,  # epochs or iterations trained
    }
)
SCHEMAS = {
    'run': _fields(
        {
            'kind': {'enum': ['run']},
            **_HEAD,
            'seed': {'type': 'integer'},
            # of config, overrides, protocol, seed, checkpoint and data
            'fingerprint': _TEXT,
            'overrides': _OPEN,
            'settings': _OPEN,  # those of the overrides that a search has chosen
            'metrics': _fields({'val': _METRICS, 'test': _METRICS}),
            'tuned_parameters': _COUNT,
            'head_parameters': _COUNT,
            'total_parameters': _COUNT,
        }
    ),
    'search': _fields(
        {
            'kind': {'enum': ['search']},
            **_HEAD,
            'fingerprint': _TEXT,
            'overrides': _OPEN,
            'space': _OPEN,
            'strategy': _OPEN,
            'trials': {'type': 'array', 'items': _TRIAL},
            'best': _TRIAL,
        }
    ),
}

_TYPES: dict[str, tuple[type, ...]] = {
    'object': (dict,),
    'array': (list,),
    'string': (str,),
    'number': (int, float),
    'integer': (int,),
    'boolean': (bool,),
    'null': (type(None),),
}


def problems(
    value: Any, schema: dict[str, Any], place: str = 'record'
) -> Iterator[str]:
    """Yield what does not fit.

    Args:
        value: Parsed JSON.
        schema: ``type``, ``enum``, ``minimum``, ``required``, ``properties``,
            ``additionalProperties`` and ``items`` as in JSON Schema; ``values`` is the
            schema of all values of an object.
        place: Where the value stands, for the message.
    """
    types = schema.get('type')
    if types is not None:
        names = [types] if isinstance(types, str) else types
        allowed = tuple(t for name in names for t in _TYPES[name])
        is_bool = isinstance(value, bool) and bool not in allowed
        if not isinstance(value, allowed) or is_bool:
            yield f'{place} is {type(value).__name__}, expected {" or ".join(names)}'
            return
    if 'enum' in schema and value not in schema['enum']:
        yield f'{place} is {value!r}, expected one of {schema["enum"]}'
    if 'minimum' in schema and value < schema['minimum']:
        yield f'{place} is {value}, expected at least {schema["minimum"]}'
    if isinstance(value, dict):
        known = schema.get('properties', {})
        for name in schema.get('required', ()):
            if name not in value:
                yield f'{place}.{name} is missing'
        for name, item in value.items():
            if name in known:
                yield from problems(item, known[name], f'{place}.{name}')
            elif schema.get('additionalProperties') is False:
                yield f'{place}.{name} is unknown'
            elif 'values' in schema:
                yield from problems(item, schema['values'], f'{place}.{name}')
    elif isinstance(value, list) and 'items' in schema:
        for i, item in enumerate(value):
            yield from problems(item, schema['items'], f'{place}.{i}')
