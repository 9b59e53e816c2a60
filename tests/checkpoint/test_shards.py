# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Files are what their content is; shards are one checkpoint or none."""

import json

import pytest
import torch
from safetensors.torch import save_file

from mmvpt.checkpoint import CheckpointError, read_checkpoint

SHARDS = ('model-00001-of-00002', 'model-00002-of-00002')


@pytest.fixture
def state():
    rng = torch.Generator().manual_seed(0)
    return {f'layer.{i}.weight': torch.randn(3, 2, generator=rng) for i in range(4)}


def save(state, path):
    torch.save(state, path) if path.suffix == '.bin' else save_file(state, path)


def shard(folder, state, ending='safetensors'):
    """Write two shards and their index, as transformers does."""
    name = 'model' if ending == 'safetensors' else 'pytorch_model'
    files = [f'{part.replace("model", name)}.{ending}' for part in SHARDS]
    keys = list(state)
    for file, half in zip(files, (keys[:2], keys[2:])):
        save({k: state[k] for k in half}, folder / file)
    where = {k: files[i > 1] for i, k in enumerate(keys)}
    index = folder / f'{name}.{ending}.index.json'
    index.write_text(json.dumps(dict(metadata={}, weight_map=where)))
    return index, files, where


@pytest.mark.parametrize('ending', ['safetensors', 'bin'])
@pytest.mark.parametrize('given', ['index', 'folder'])
def test_shards_are_read_as_one_file(tmp_path, state, ending, given):
    index, files, _ = shard(tmp_path, state, ending)
    found = read_checkpoint(index if given == 'index' else tmp_path)
    assert set(found) == set(state)
    assert all(torch.equal(found[k], state[k]) for k in state)
    with pytest.raises(CheckpointError, match=f'part 2 of 2.*{index.name}'):
        read_checkpoint(tmp_path / files[1])
    index.unlink()
    named = (files[0], 'a_1_of_2.pth', 'a-00001-of-00002.fp16.bin', 'a-1-of-2 (1).pth')
    for name in named:
        (tmp_path / files[0]).rename(tmp_path / name)
        with pytest.raises(CheckpointError, match=r'part 1 of 2.*Fetch its index'):
            read_checkpoint(tmp_path / name)
        (tmp_path / name).rename(tmp_path / files[0])


def test_shards_that_do_not_fit_their_index(tmp_path, state):
    index, files, where = shard(tmp_path, state)
    text = index.read_text()
    index.write_text(text.replace('"layer.1.weight"', '"layer.0.weight"'))
    with pytest.raises(CheckpointError, match=r'names layer\.0\.weight twice'):
        read_checkpoint(index)
    for wrong in ({k: where[k] for k in list(where)[1:]}, {**where, 'more': files[1]}):
        index.write_text(json.dumps(dict(weight_map=wrong)))
        with pytest.raises(CheckpointError, match='disagree about (layer.0|more)'):
            read_checkpoint(index)
    index.write_text(json.dumps(dict(weight_map={**where, 'a': '../a.safetensors'})))
    with pytest.raises(CheckpointError, match='no index of shards'):
        read_checkpoint(index)
    for other, message in (('{"a": 1}', 'no index of shards'), ('{"a": ', 'damaged')):
        index.write_text(other)
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(index)
    index.write_text(text)
    (tmp_path / files[1]).unlink()
    with pytest.raises(CheckpointError, match=f'1 are missing: {files[1]}'):
        read_checkpoint(index)


@pytest.mark.parametrize('name', ['A.SAFETENSORS', 'a.pth', 'a.bin', 'a'])
def test_safetensors_by_any_name(tmp_path, state, name):
    save_file(state, tmp_path / name)
    found = read_checkpoint(tmp_path / name)
    assert all(torch.equal(found[k], state[k]) for k in state)


@pytest.mark.parametrize('name', ['A.PTH', 'a.safetensors', 'a.ckpt', 'a.npz'])
def test_torch_files_by_any_name(tmp_path, state, name):
    torch.save(state, tmp_path / name)
    found = read_checkpoint(tmp_path / name)
    assert all(torch.equal(found[k], state[k]) for k in state)


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('a.pth', b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull'),
        ('a.gguf', b'GGUF\x03\x00\x00\x00', 'a GGUF file.*quantised'),
        ('a.h5', b'\x89HDF\r\n\x1a\n', 'an HDF5 file'),
        ('a.onnx', b'\x08\x07\x12\x07pytorch', 'an ONNX graph'),
    ],
)
def test_other_kinds_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / name)


def test_a_folder_without_weights_says_what_it_holds(tmp_path, state):
    with pytest.raises(CheckpointError, match=r'directory without model\.safetensors'):
        read_checkpoint(tmp_path)
    (tmp_path / 'config.json').write_text('{}')
    save_file(state, tmp_path / 'open_clip_model.safetensors')
    assert set(read_checkpoint(tmp_path)) == set(state)
    save_file(state, tmp_path / 'other.safetensors')
    with pytest.raises(CheckpointError, match=r'open_clip_model.*, other\.safetensors'):
        read_checkpoint(tmp_path)
