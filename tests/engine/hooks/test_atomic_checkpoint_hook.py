# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Checkpoints are complete, in order, and survive a full disk."""

import errno

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmvpt import files
from mmvpt.checkpoint import CheckpointError, read_checkpoint
from mmvpt.engine.atomic_local_backend import AtomicLocalBackend
from tests.engine.miniature import config, write_data


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp('data'))


def run(data, work_dir, **changes):
    cfg = config(data, work_dir=str(work_dir), **changes)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def names(folder):
    return sorted(path.name for path in folder.glob('*.pth'))


def watch(monkeypatch, work_dir):
    """Note which checkpoints are there whenever one is about to be removed."""
    seen = []
    remove = AtomicLocalBackend.remove

    def noted(self, path):
        seen.append((str(path).rsplit('/', 1)[-1], names(work_dir)))
        remove(self, path)

    monkeypatch.setattr(AtomicLocalBackend, 'remove', noted)
    return seen


def test_old_ones_go_after_the_new_one_is_complete(data, tmp_path, monkeypatch):
    seen = watch(monkeypatch, tmp_path)
    changes = dict(default_hooks__checkpoint__max_keep_ckpts=1)
    runner = run(data, tmp_path, train_cfg__max_epochs=3, **changes)
    assert seen == [
        ('epoch_1.pth', ['epoch_1.pth', 'epoch_2.pth']),
        ('epoch_2.pth', ['epoch_2.pth', 'epoch_3.pth']),
    ]
    assert names(tmp_path) == ['epoch_3.pth']
    last = tmp_path / 'last_checkpoint'
    assert last.read_text() == str(tmp_path / 'epoch_3.pth')
    checkpoint = read_checkpoint(tmp_path / 'epoch_3.pth')
    assert checkpoint['message_hub']['runtime_info']['keep_ckpt_ids'] == [3]
    kept = Config.fromstring(checkpoint['meta']['cfg'], '.py')
    assert kept.to_dict() == runner.cfg.to_dict()


def test_best_goes_after_the_new_best_is_complete(data, tmp_path, monkeypatch):
    seen = watch(monkeypatch, tmp_path)
    scores = iter([1.0, 3.0, 2.0])

    def evaluate(self, size):
        return {'accuracy/top1': next(scores)}

    monkeypatch.setattr('mmengine.evaluator.Evaluator.evaluate', evaluate)
    changes = dict(default_hooks__checkpoint__save_best='accuracy/top1')
    run(data, tmp_path, train_cfg__max_epochs=3, **changes)
    best = [f'best_accuracy_top1_epoch_{i}.pth' for i in (1, 2)]
    removed = dict(seen)
    assert set(best) < set(removed[best[0]])
    assert names(tmp_path) == [best[1], 'epoch_2.pth', 'epoch_3.pth']


def disk_with_room_for(monkeypatch, count):
    """Let ``count`` checkpoints be written, then have half a file fill the disk."""
    opened = 0

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, data):
            self.file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, 'No space left on device', self.file.name)

    def full_open(path, mode):
        nonlocal opened
        opened += '.pth' in str(path)
        return Full(open(path, mode)) if opened > count else open(path, mode)

    monkeypatch.setattr(files, 'open', full_open, raising=False)


def test_full_disk_keeps_the_last_good_checkpoint(data, tmp_path, monkeypatch):
    disk_with_room_for(monkeypatch, 1)
    with pytest.raises(CheckpointError, match='No space left') as error:
        run(data, tmp_path, default_hooks__checkpoint__max_keep_ckpts=1)
    assert 'epoch_2.pth' in str(error.value)
    assert f'last good checkpoint is {tmp_path}/epoch_1.pth' in str(error.value)
    assert names(tmp_path) == ['epoch_1.pth']
    assert not list(tmp_path.glob('.*-tmp'))
    assert read_checkpoint(tmp_path / 'epoch_1.pth')['meta']['epoch'] == 1
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_1.pth')


def test_full_disk_at_once(data, tmp_path, monkeypatch):
    disk_with_room_for(monkeypatch, 0)
    with pytest.raises(CheckpointError, match='No checkpoint was complete'):
        run(data, tmp_path)
    assert not names(tmp_path) and not list(tmp_path.glob('.*-tmp'))


def test_size_limit_of_the_system(tmp_path):
    """The kernel's own refusal leaves the old file and nothing else."""
    resource = pytest.importorskip('resource')
    path = tmp_path / 'a.pth'
    AtomicLocalBackend().put(b'old', path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError):
            AtomicLocalBackend().put(b'x' * 10000, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in tmp_path.iterdir()] == ['a.pth']
    assert path.read_bytes() == b'old'


def test_leftovers_of_a_kill_are_removed(data, tmp_path):
    leftover = tmp_path / f'.epoch_1.pth.1{files.TEMPORARY_SUFFIX}'
    leftover.write_bytes(b'half')
    run(data, tmp_path)
    assert not leftover.exists()


def test_resumed_run_repeats_the_validation(data, tmp_path, monkeypatch):
    run(data, tmp_path, val_cfg=None, val_dataloader=None, val_evaluator=None)
    validated = []
    monkeypatch.setattr(
        'mmengine.hooks.LoggerHook.after_val_epoch',
        lambda self, runner, metrics=None: validated.append(runner.epoch),
    )
    last = str(tmp_path / 'epoch_2.pth')
    run(data, tmp_path, resume=True, load_from=last)
    assert validated == [2]  # training had ended, the validation had not begun
