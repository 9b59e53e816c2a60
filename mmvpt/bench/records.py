# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Records: one JSON file for each run and each search, checked on write and on read."""

from __future__ import annotations

import datetime
import errno
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.fileio import load

from mmvpt.errors import FullDiskError, MissingFileError, UserError
from mmvpt.files import write_whole

from .protocols import PROTOCOLS

_SCHEMA = load(Path(__file__).with_name('schema.yml'))
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


class InvalidRecordError(UserError):
    """A file is no record, or a record contradicts itself."""


def record_head(kind: str, spec: Mapping[str, Any], mark: str) -> dict[str, Any]:
    """Return the first fields of a record.

    Args:
        kind: 'run' or 'search'.
        spec: Has the fields of ``NAMES``.
        mark: The fingerprint.
    """
    head = dict(format=FORMAT, version=VERSION, kind=kind, fingerprint=mark)
    return dict(head, **{name: spec[name] for name in NAMES})


def plain(content: Any) -> Any:
    """Return what JSON makes of something."""
    return json.loads(json.dumps(content))


def now() -> str:
    """Return the time as records have it."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat('T', 'seconds')


def kept_record(path: Path, mark: str) -> dict[str, Any] | None:
    """Return the record of the same run or search; set aside what else has its name."""
    if not path.exists():
        return None
    try:
        record = read_record(path)
        if record['fingerprint'] == mark:
            return record
    except InvalidRecordError as error:
        print(f'{error}; it is done again', file=sys.stderr)
    os.replace(path, path.with_suffix('.old'))
    return None


def validate(record: Any) -> None:
    """Check form and content of a record.

    Raises:
        InvalidRecordError: If a field is missing, unknown or of the wrong type, or the
            record claims a protocol that its own data or selection contradict.
    """
    fault = next(_faults(record), None)
    if fault is not None:
        raise InvalidRecordError(fault)


def _faults(record: Any) -> Iterator[str]:
    """Yield what is wrong; what follows the first fault rests on what it denies."""
    if not isinstance(record, dict) or record.get('format') != FORMAT:
        yield f'is no {FORMAT}'
        return
    if record.get('version') != VERSION:
        yield (
            f'has version {record.get("version")!r} of the format, this code reads '
            f'version {VERSION}'
        )
    if record.get('kind') not in SCHEMAS:
        yield f'has kind {record.get("kind")!r}, known are {", ".join(SCHEMAS)}'
    found = list(problems(record, SCHEMAS[record['kind']]))
    if found:
        more = f' (and {len(found) - 3} more)' if len(found) > 3 else ''
        yield '; '.join(found[:3]) + more
    if any(not math.isfinite(number) for number in _numbers(record)):
        yield 'holds a number that is not finite'
    stated, data = record['protocol'], record['data']
    protocol = PROTOCOLS.get(stated['name'])
    if protocol is None:
        yield f'names the unknown protocol {stated["name"]!r}'
    for name in ('leak_free', 'label', 'selection'):
        if stated[name] != getattr(protocol, name):
            yield (
                f'says {name} {stated[name]!r}, but protocol {protocol.name!r} has '
                f'{getattr(protocol, name)!r}'
            )
    overlaps, ran = data['overlaps'], record['kind'] == 'run'
    selects_on_test = ran and not protocol.leak_free
    if overlaps.get('train_test') or (overlaps.get('val_test') and not selects_on_test):
        yield (
            f'trains or selects on test images ({overlaps}), which protocol '
            f'{protocol.name!r} rules out'
        )
    if overlaps.get('train_val'):
        yield f'validates on images that train ({overlaps})'
    if data['duplicates'] > data['accepted_duplicates']:
        yield (
            f'has {data["duplicates"]} copies of test images among those that train or '
            f'validate, but accepted are {data["accepted_duplicates"]}'
        )
    reads = protocol.test_reads('final' if ran else 'search')
    if stated['test_reads'] != reads:
        yield (
            f'says that test data was read {stated["test_reads"]!r}, by protocol it is '
            f'{reads!r}'
        )
    if ran:
        metrics, metric = record['metrics']['test'], record['metric']
        if metrics is None:
            yield 'has no test metrics'
        elif metric not in metrics:
            have = ', '.join(metrics) or 'none'
            yield f'has no test metric {metric!r}, only {have}'
        elif data['test'] is None:
            yield 'has test metrics, but no test images'


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


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)


def comparable(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without what differs when the same run is done again."""
    return {name: value for name, value in record.items() if name != 'measured'}


def write_record(path: str | os.PathLike, record: dict[str, Any]) -> None:
    """Check a record and write it, whole or not at all.

    Raises:
        InvalidRecordError: If the record is not valid; nothing is written.
        OSError: If it cannot be written; nothing is left behind.
    """
    record = plain(record)
    try:
        validate(record)
    except InvalidRecordError as error:
        raise InvalidRecordError(f'the record for {path} {error}') from error
    write_json(path, record)


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write JSON, whole or not at all.

    Raises:
        OSError: If it cannot be written; nothing is left behind.
    """
    try:
        write_whole(path, (json.dumps(content, indent=1) + '\n').encode())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FullDiskError(
                f'the disk is full: {path} was not written, and nothing is left of it. '
                'Make room and run the command again; what is finished is kept.'
            ) from error
        raise


def read_record(path: str | os.PathLike) -> dict[str, Any]:
    """Read a record.

    Raises:
        InvalidRecordError: If it is cut off, not JSON, or no valid record.
    """
    try:
        record = json.loads(Path(path).read_text(encoding='utf-8'))
    except ValueError as error:
        raise InvalidRecordError(f'{path} is cut off or no JSON: {error}') from error
    try:
        validate(record)
    except InvalidRecordError as error:
        raise InvalidRecordError(f'{path} {error}') from error
    return record


def read_records(
    paths: Iterable[str | os.PathLike],
) -> tuple[list[dict[str, Any]], list[str]]:
    """Read records from files and folders.

    Args:
        paths: Files, and folders whose ``records`` folders (at any depth, or the folder
            itself if it has none) are searched for ``.json`` files.

    Returns:
        The valid records, and a notice for each file that is left out.

    Raises:
        UserError: If a path does not exist.
    """
    records, notices = [], []
    for path in _files(paths):
        try:
            records.append(read_record(path))
        except InvalidRecordError as error:
            notices.append(f'left out: {error}')
    return records, notices


def _files(paths: Iterable[str | os.PathLike]) -> Iterator[Path]:
    for path in map(Path, paths):
        if not path.exists():
            raise MissingFileError(f'{path} does not exist: no records to read there')
        if path.is_file():
            yield path
            continue
        folders = sorted(p for p in path.rglob('records') if p.is_dir()) or [path]
        for folder in folders:
            yield from sorted(p for p in folder.rglob('*.json') if p.is_file())
