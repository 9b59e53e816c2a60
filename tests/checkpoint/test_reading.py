# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Checkpoints are read without running their code, or refused in plain words."""

import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import CheckpointLoader

from mmvpt.checkpoint import CheckpointError, read_checkpoint, use_safe_loading


class Malicious:
    """Runs a command when unpickled."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.fixture
def restore_loaders():
    schemes = dict(CheckpointLoader._schemes)
    yield
    CheckpointLoader._schemes.clear()
    CheckpointLoader._schemes.update(schemes)


@pytest.fixture
def state():
    return {'fc.weight': torch.randn(3, 2), 'fc.bias': torch.zeros(3)}


def save_malicious(tmp_path, legacy=False, call=os.system):
    ran = tmp_path / 'ran'
    path = tmp_path / 'malicious.pth'
    payload = Malicious(call, f'touch {ran}')
    torch.save(
        {'state_dict': {}, 'x': payload},
        path,
        _use_new_zipfile_serialization=not legacy,
    )
    return path, ran


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('call', [os.system, eval, getattr])
def test_code_does_not_run(tmp_path, legacy, call, monkeypatch):
    monkeypatch.delenv('MMVPT_TRUST_CHECKPOINT', raising=False)
    path, ran = save_malicious(tmp_path, legacy, call if call is not getattr else exec)
    with pytest.raises(CheckpointError, match='MMVPT_TRUST_CHECKPOINT=1') as error:
        read_checkpoint(path)
    assert '--trust-checkpoint' in str(error.value)
    assert any(name in str(error.value) for name in ('system', 'eval', 'exec'))
    assert not ran.exists()


@pytest.mark.parametrize('how', ['argument', 'environment'])
def test_trusting_a_file_loads_it(tmp_path, how, monkeypatch):
    path, ran = save_malicious(tmp_path)
    if how == 'environment':
        monkeypatch.setenv('MMVPT_TRUST_CHECKPOINT', '1')
    read_checkpoint(path, trusted=how == 'argument')
    assert ran.exists()


def test_mmengine_loads_safely(tmp_path, restore_loaders, state):
    path, ran = save_malicious(tmp_path)
    use_safe_loading()
    with pytest.raises(CheckpointError, match='system'):
        CheckpointLoader.load_checkpoint(str(path))
    assert not ran.exists()
    good = tmp_path / 'good.pth'
    torch.save(state, good)
    loaded = CheckpointLoader.load_checkpoint(str(good))
    assert torch.equal(loaded['fc.weight'], state['fc.weight'])
    with pytest.raises(CheckpointError, match='path or an http'):
        CheckpointLoader.load_checkpoint('torchvision://resnet18')
    use_safe_loading(trusted=True)
    CheckpointLoader.load_checkpoint(str(path))
    assert ran.exists()


def test_url_is_read_safely(tmp_path, restore_loaders, monkeypatch):
    path, ran = save_malicious(tmp_path)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'hub'))

    def download(url, target, **kwargs):
        os.replace(path, target)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    use_safe_loading()
    with pytest.raises(CheckpointError, match='system'):
        CheckpointLoader.load_checkpoint('https://example.org/a/weights.pth')
    assert not ran.exists()


def test_unreachable_url_names_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))

    def download(url, target, **kwargs):
        raise OSError('no route')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    with pytest.raises(CheckpointError, match='no route.*put it at.*weights.pth'):
        read_checkpoint('https://example.org/weights.pth')


def test_config_text_is_dropped(tmp_path):
    """mmengine runs ``meta['config']`` as Python on resume."""
    path = tmp_path / 'old.pth'
    torch.save({'meta': {'config': 'import os', 'epoch': 3}, 'state_dict': {}}, path)
    assert read_checkpoint(path)['meta'] == {'epoch': 3}
    assert 'config' in read_checkpoint(path, trusted=True)['meta']


def mmengine_like(tmp_path):
    hub = MessageHub.get_instance('test_checkpoint')
    for value in (1.0, 2.0):
        hub.update_scalar('train/loss', value)
    palette = np.arange(6, dtype=np.uint8).reshape(2, 3)
    hub.update_info('dataset_meta', {'classes': ('a', 'b'), 'palette': palette})
    hub.update_info('best_score', np.float32(0.25))
    path = tmp_path / 'epoch_1.pth'
    torch.save({'meta': {'epoch': 1}, 'message_hub': hub.state_dict()}, path)
    return path


def test_mmengine_checkpoint_loads(tmp_path):
    loaded = read_checkpoint(mmengine_like(tmp_path))['message_hub']
    history = loaded['log_scalars']['train/loss']
    assert type(history) is HistoryBuffer
    assert history.mean() == 1.5 and history.current() == 2.0
    assert loaded['runtime_info']['dataset_meta']['palette'].tolist()[1] == [3, 4, 5]
    assert loaded['runtime_info']['best_score'] == np.float32(0.25)
    assert type(pickle.loads(pickle.dumps(history))) is HistoryBuffer


def test_history_does_not_bring_functions_along(tmp_path, monkeypatch):
    methods = dict(HistoryBuffer._statistics_methods)
    history = HistoryBuffer([1.0], [1])
    monkeypatch.setattr(HistoryBuffer, '_statistics_methods', {'min': slice})
    path = tmp_path / 'a.pth'
    torch.save({'history': history}, path)
    monkeypatch.setattr(HistoryBuffer, '_statistics_methods', methods)
    read_checkpoint(path)
    assert HistoryBuffer._statistics_methods['min'] is HistoryBuffer.min


def test_object_arrays_are_refused(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save({'x': np.array([{}], dtype=object)}, path)
    with pytest.raises(CheckpointError, match=r'numpy.dtype\(object\)'):
        read_checkpoint(path)


def test_safetensors(tmp_path, state):
    save_file = pytest.importorskip('safetensors.torch').save_file
    path = tmp_path / 'a.safetensors'
    save_file(state, path)
    assert torch.equal(read_checkpoint(path)['fc.weight'], state['fc.weight'])
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match='truncated'):
        read_checkpoint(path)


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r'nothere\.pth does not exist.*Check'):
        read_checkpoint(tmp_path / 'nothere.pth')


def test_directory_lists_its_checkpoints(tmp_path):
    (tmp_path / 'epoch_3.pth').touch()
    with pytest.raises(CheckpointError, match=r'directory.*epoch_3\.pth'):
        read_checkpoint(tmp_path)


def test_empty_file(tmp_path):
    (tmp_path / 'a.pth').touch()
    with pytest.raises(CheckpointError, match=r'empty \(0 bytes\)'):
        read_checkpoint(tmp_path / 'a.pth')


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('keep', [0.1, 0.5, 0.98])
def test_truncated_file(tmp_path, state, legacy, keep):
    path = tmp_path / 'a.pth'
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(CheckpointError, match='truncated or not a checkpoint'):
        read_checkpoint(path)


def test_text_file(tmp_path):
    path = tmp_path / 'a.pth'
    path.write_text('<html>404 not found</html>')
    with pytest.raises(CheckpointError, match='truncated or not a checkpoint'):
        read_checkpoint(path)


def test_numpy_archive(tmp_path):
    np.savez(tmp_path / 'a.npz', x=np.zeros(2))
    with pytest.raises(CheckpointError, match='numpy archive.*Convert'):
        read_checkpoint(tmp_path / 'a.npz')


def test_not_a_dict(tmp_path):
    torch.save(torch.zeros(2), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='holds a Tensor, not a dict'):
        read_checkpoint(tmp_path / 'a.pth')
