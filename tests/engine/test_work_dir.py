# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""One run per work dir, and the right checkpoint to go on from."""

import os
import signal
import time

import pytest
from mmengine.config import Config

from mmvpt.engine.run_config import training_config
from mmvpt.engine.work_dir import (
    clear_for_fresh_run,
    last_checkpoint,
    list_checkpoints,
    lock_work_dir,
)
from mmvpt.errors import UserError


@pytest.fixture
def holder(tmp_path):
    """The id of a process that holds the lock and has a child."""
    locked, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        with lock_work_dir(tmp_path):
            if os.fork():  # the other as a data-loading worker that outlives its parent
                os.write(tell, b'locked')
            time.sleep(20)
        os._exit(0)
    assert os.read(locked, 6) == b'locked'
    yield pid
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_second_run_is_refused_until_the_first_is_gone(tmp_path, holder):
    with pytest.raises(UserError, match=f'{tmp_path}.*process {holder}.*--work'):
        with lock_work_dir(tmp_path):
            pass
    os.kill(holder, signal.SIGKILL)
    while os.waitid(os.P_PID, holder, os.WEXITED | os.WNOWAIT) is None:
        time.sleep(0.01)
    with lock_work_dir(tmp_path):  # although the child lives
        assert f'process {os.getpid()}' in (tmp_path / '.lock').read_text()


def test_lock_can_be_taken_again(tmp_path):
    for _ in range(2):
        with lock_work_dir(tmp_path / 'new'):
            pass


def test_nothing_there(tmp_path):
    assert list_checkpoints(tmp_path / 'absent') == []
    assert last_checkpoint(tmp_path / 'absent') is None
    clear_for_fresh_run(tmp_path / 'absent', overwrite=False)


def test_note_names_the_last_checkpoint(tmp_path):
    for name in ('epoch_2.pth', 'epoch_10.pth'):
        (tmp_path / name).touch()
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_2.pth'))
    assert last_checkpoint(tmp_path).name == 'epoch_2.pth'


def test_work_dir_was_moved(tmp_path):
    (tmp_path / 'epoch_2.pth').touch()
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_2.pth')
    assert last_checkpoint(tmp_path) == tmp_path / 'epoch_2.pth'


def test_checkpoint_of_the_note_is_gone(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_2.pth')
    with pytest.raises(FileNotFoundError, match='epoch_2.pth.*--resume PATH'):
        last_checkpoint(tmp_path)


def test_without_note_the_highest_number_counts(tmp_path):
    for name in ('epoch_2.pth', 'epoch_10.pth', 'best_acc_epoch_3.pth', 'other.pth'):
        (tmp_path / name).touch()
    assert last_checkpoint(tmp_path).name == 'epoch_10.pth'


def test_fresh_run_refuses_old_checkpoints(tmp_path):
    for name in ('epoch_2.pth', 'best_acc_epoch_2.pth', 'last_checkpoint', 'own.pth'):
        (tmp_path / name).touch()
    with pytest.raises(FileExistsError, match='--resume.*--work-dir.*--overwrite'):
        clear_for_fresh_run(tmp_path, overwrite=False)
    clear_for_fresh_run(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ['own.pth']


@pytest.mark.parametrize('below', ['', 'run/1'])
def test_a_file_is_no_work_dir(tmp_path, below):
    (tmp_path / 'notes').write_text('mine')
    with pytest.raises(UserError, match=r'--work-dir .*notes is a file'):
        training_config(Config(), work_dir=tmp_path / 'notes' / below)
    assert (tmp_path / 'notes').read_text() == 'mine'
