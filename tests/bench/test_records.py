# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Records are checked on write and on read, and written whole or not at all."""

import builtins
import errno
import json

import pytest

from mmvpt.bench import (
    InvalidRecordError,
    comparable,
    get_protocol,
    read_record,
    read_records,
    write_record,
)
from tests.bench.invented import record


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / 'a' / 'run.json'
    write_record(path, record())
    assert read_record(path) == record()
    assert [p.name for p in path.parent.iterdir()] == ['run.json']
    other = record(measured__seconds=9.0)
    assert other != record() and comparable(other) == comparable(record())


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(seed='one'), 'record.seed is str, expected integer'),
        (dict(seed=True), 'record.seed is bool'),
        (dict(surprise=1), 'record.surprise is unknown'),
        (dict(version=2), 'has version 2'),
        (dict(kind='guess'), "has kind 'guess'"),
        (dict(format='other'), 'is no mmvpt-record'),
        (dict(metrics__test=None), 'has no test metrics'),
        (dict(metrics__test={'accuracy/top1': float('nan')}), 'not finite'),
        (
            dict(metrics__test={'mIoU': 1.0}),
            "no test metric 'accuracy/top1', only mIoU",
        ),
        (dict(metrics__test={}), 'only none'),
        (dict(data__test=None), 'no test images'),
        (dict(data__duplicates=-1), 'at least 0'),
        (dict(protocol__selection='luck'), 'expected one of'),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, changes, message):
    with pytest.raises(InvalidRecordError, match=message):
        write_record(tmp_path / 'run.json', record(**changes))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(protocol__selection='best-test'), "says selection 'best-test'"),
        (dict(protocol__leak_free=False), 'says leak_free False'),
        (dict(protocol__name='mine'), 'unknown protocol'),
        (dict(data__overlaps={'train_test': 1}), 'selects on test images'),
        (dict(data__overlaps={'val_test': 3}), 'selects on test images'),
        (dict(data__overlaps={'train_val': 3}), 'validates on images that train'),
        (dict(data__duplicates=2), '2 copies of test images .* accepted are 0'),
        (dict(protocol__test_reads='every epoch'), 'test data was read'),
        (dict(protocol__name='davpt-paper'), 'says leak_free True'),
    ],
)
def test_a_leak_under_a_leak_free_name_is_refused(tmp_path, changes, message):
    path = tmp_path / 'run.json'
    with pytest.raises(InvalidRecordError, match=message):
        write_record(path, record(**changes))
    path.write_text(json.dumps(record(**changes)))  # as if by hand
    with pytest.raises(InvalidRecordError, match=message):
        read_record(path)


def test_fields_that_older_records_lack(tmp_path):
    batch = dict(images_per_step=64, batch_size=64, world_size=1, accumulation=1)
    newer = record(
        protocol__protocol_seeds=[42, 44, 82, 100, 800],
        protocol__train_batch=batch,
        data__train=dict(images=9, sha256='0' * 64, bytes=999),
        data__duplicates=1,
        data__accepted_duplicates=1,
        measured__test_reads=2,
    )
    write_record(tmp_path / 'run.json', newer)
    assert read_record(tmp_path / 'run.json') == newer


def test_a_test_selected_record_carries_its_label(tmp_path):
    paper = get_protocol('davpt-paper')
    told = record(
        protocol__name=paper.name,
        protocol__leak_free=False,
        protocol__label=paper.label,
        protocol__selection=paper.selection,
        protocol__test_reads='every epoch',
        data__overlaps={'val_test': 9},
    )
    write_record(tmp_path / 'run.json', told)
    told['protocol']['label'] = ''
    with pytest.raises(InvalidRecordError, match='says label'):
        write_record(tmp_path / 'run.json', told)


def test_bad_files_are_named_and_left_out(tmp_path):
    folder = tmp_path / 'out' / 'records'
    write_record(folder / 'good.json', record())
    whole = (folder / 'good.json').read_text()
    (folder / 'cut.json').write_text(whole[: len(whole) // 2])
    (folder / 'foreign.json').write_text('{"accuracy": 99.9}')
    (tmp_path / 'out' / 'other.json').write_text('not a record, not in records/')
    found, notices = read_records([tmp_path / 'out'])
    assert found == [record()]
    assert len(notices) == 2
    assert 'cut.json is cut off' in notices[0]
    assert 'foreign.json is no mmvpt-record' in notices[1]
    with pytest.raises(FileNotFoundError, match='no records to read'):
        read_records([tmp_path / 'nowhere'])


@pytest.mark.parametrize('call', ['write', 'fsync', 'replace'])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, call):
    path = tmp_path / 'run.json'
    write_record(path, record())
    before = path.read_text()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, 'No space left on device')

    if call == 'write':
        real = builtins.open

        monkeypatch.setattr('builtins.open', lambda *a, **k: _Full(real(*a, **k)))
    else:
        monkeypatch.setattr(f'mmvpt.bench.records.os.{call}', full)
    with pytest.raises(OSError, match='the disk is full: .*run.json was not written'):
        write_record(path, record(seed=9))
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ['run.json']
    assert path.read_text() == before


class _Full:
    """A file on a full disk."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, text):
        self.file.write(text[:10])
        raise OSError(errno.ENOSPC, 'No space left on device')
