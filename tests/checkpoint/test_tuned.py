# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Damaged, foreign and malicious files end in an error that says so."""

import hashlib
import json
import os
import pickle
import random
import struct

import pytest
import torch
from safetensors.torch import save_file

from mmvpt import files
from mmvpt.checkpoint import CheckpointError, read_checkpoint
from mmvpt.checkpoint.config_data import from_data, to_data, without_paths
from mmvpt.checkpoint.fingerprint import Fingerprint, fingerprint_of
from mmvpt.checkpoint.tuned import META_KEY, TunedCheckpoint, read_tuned

MUTATIONS = 1000


def tuned(**changes):
    """Return a small checkpoint."""
    generator = torch.Generator().manual_seed(0)

    def weights(*shape):
        return torch.randn(*shape, generator=generator)

    content = dict(
        state={
            'backbone.prompt.tokens': weights(2, 3, 4),
            'backbone.prompt.class_to_prompt': torch.tensor([1, 0]),
            'head.fc.weight': weights(2, 4),
            'head.fc.bias': weights(2),
        },
        frozen={'backbone': fingerprint_of({'ln1.weight': weights(4)}, 'vit.pth')},
        config=to_data(dict(model=dict(type='X'), scale=(1, 2))),
        classes=('cat', 'dog'),
        palette=((1, 2, 3), (4, 5, 6)),
        normalization=dict(mean=[0.1, 1 / 3, 2.0], std=[1.0, 2.0, 3.0]),
        training=dict(epoch=3),
    )
    return TunedCheckpoint(**{**content, **changes})


@pytest.fixture
def path(tmp_path):
    path = tmp_path / 'a.safetensors'
    tuned().save(path)
    return path


def same(one, other):
    """Tell whether two checkpoints are the same but for the order of weights."""
    equal = all(torch.equal(one.state[n], other.state[n]) for n in one.state)
    rest = ('frozen', 'config', 'classes', 'palette', 'normalization', 'training')
    return (
        equal
        and one.state.keys() == other.state.keys()
        and all(getattr(one, name) == getattr(other, name) for name in rest)
    )


def test_what_is_written_is_read(path):
    assert same(read_tuned(path), tuned())
    assert read_tuned(path).class_to_prompt == dict(cat=1, dog=0)
    assert not list(path.parent.glob('.*'))


def mutate(content, rng):
    """Return changed bytes: flipped bits, a cut, or parts that swap places."""
    content = bytearray(content)
    kind = rng.choice(['bit', 'bit', 'bits', 'cut', 'swap', 'append', 'zero', 'header'])
    size = min(struct.unpack('<Q', content[:8])[0], len(content) // 2)
    if kind in ('bit', 'bits', 'header'):
        for _ in range(1 if kind != 'bits' else rng.randint(2, 20)):
            end = 8 + size if kind == 'header' else len(content)
            content[rng.randrange(end)] ^= 1 << rng.randrange(8)
    elif kind == 'cut':
        del content[rng.randrange(len(content)) :]
    elif kind == 'append':
        content += bytes(rng.randrange(256) for _ in range(rng.randint(1, 9)))
    elif kind == 'zero':
        start = rng.randrange(len(content) - 16)
        content[start : start + 16] = bytes(16)
    else:  # two stretches of the tensors
        a, b = sorted(rng.sample(range(8 + size, len(content) - 8, 4), 2))
        content[a : a + 4], content[b : b + 4] = content[b : b + 4], content[a : a + 4]
    return bytes(content)


def test_mutated_files_are_refused(path):
    rng, original = random.Random(0), path.read_bytes()
    done = 0
    while done < MUTATIONS:
        content = mutate(original, rng)
        if content == original:
            continue
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as error:
            read_tuned(path)
        assert str(path) in str(error.value)
        done += 1


def test_mutated_training_checkpoints_are_refused_or_the_same(tmp_path):
    """Zip files have bytes that mean nothing: those may change."""
    path, original = tmp_path / 'a.pth', tuned()
    content = {
        'state_dict': original.marked_state(),
        'meta': {META_KEY: original.describe()},
    }
    torch.save(content, path)
    rng, content = random.Random(0), path.read_bytes()
    refused = 0
    for _ in range(MUTATIONS):
        path.write_bytes(mutate(content, rng))
        try:
            assert same(read_tuned(path), original)
        except CheckpointError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > MUTATIONS // 2


def test_other_readers_of_ours_notice_damage_too(path):
    """As tools/test.py reads it."""
    assert read_checkpoint(path)['state_dict'].keys() > tuned().state.keys()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match='changed or damaged'):
        read_checkpoint(path)


def test_swapped_tensors_are_refused(path):
    """Names that change places in the header, the file otherwise sound."""
    content = path.read_bytes()
    one, other = b'"head.fc.weight"', b'"head.fc.weighs"'
    header = content.replace(one, other)
    swapped = content.replace(b'"shape":[2,4]', b'"shape":[4,2]')
    for changed in (header, swapped):
        assert changed != content
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match='is damaged: its content has the'):
            read_tuned(path)


def reseal(path, metadata, tensors=None):
    """Write a file whose hash is right, whatever it says."""
    path.write_bytes(files.checksummed(tensors or {'a': torch.zeros(1)}, metadata))


def test_newer_formats_are_named(path):
    content = json.loads(tuned().describe())
    reseal(path, {META_KEY: json.dumps(dict(content, format_version=2))})
    with pytest.raises(CheckpointError, match='format version 2, .* reads 1. Install'):
        read_tuned(path)


@pytest.mark.parametrize(
    'text',
    [
        '',
        '[]',
        'null',
        '{"format_version": 1}',
        '{"format_version": 1, "frozen": [], "config": 3, "classes": 1}',
        '[' * 100_000,
    ],
)
def test_descriptions_that_make_no_sense(path, text):
    reseal(path, {META_KEY: text})
    with pytest.raises(CheckpointError, match='its description is'):
        read_tuned(path)


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'x',
        struct.pack('<Q', 2**62),
        struct.pack('<Q', 10) + b'{"a":1}',
        struct.pack('<Q', 2) + b'{}',
    ],
)
def test_headers_that_make_no_sense(path, content):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match='is not a checkpoint that'):
        read_tuned(path)


def test_header_that_lies_about_offsets_with_a_right_hash(path):
    content = path.read_bytes()
    start, end = files._find_checksum(content)
    lie = content.replace(b'"data_offsets":[0,', b'"data_offsets":[9,')
    zeroed = lie[:start] + b'0' * 64 + lie[end:]
    digest = hashlib.sha256(zeroed).hexdigest().encode()
    path.write_bytes(lie[:start] + digest + lie[end:])
    assert lie != content
    with pytest.raises(CheckpointError, match='safetensors'):
        read_tuned(path)


def test_other_safetensors_files_are_named(path):
    save_file({'a': torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match='give the config too'):
        read_tuned(path)


class Malicious:
    """Runs a command when unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors', '.pkl'])
def test_pickles_do_not_run(tmp_path, suffix, monkeypatch):
    monkeypatch.delenv('MMVPT_TRUST_CHECKPOINT', raising=False)
    ran, path = tmp_path / 'ran', tmp_path / f'a{suffix}'
    payload = {'state_dict': {}, 'meta': {META_KEY: Malicious(f'touch {ran}')}}
    torch.save(payload, path)
    with pytest.raises(CheckpointError):
        read_tuned(path)
    path.write_bytes(pickle.dumps(payload))
    with pytest.raises(CheckpointError):
        read_tuned(path)
    assert not ran.exists()


def test_pth_without_a_description_is_named(tmp_path):
    torch.save({'state_dict': {'a': torch.zeros(1)}}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='does not tell its config'):
        read_tuned(tmp_path / 'a.pth')


def test_configs_come_back_as_they_were():
    config = dict(
        a=(1, [2, (3,)]), b={1: 'x', (2, 3): None}, c=1e-8, d={'$tuple': 1}, e=True
    )
    back = from_data(json.loads(json.dumps(to_data(config))))
    assert back == config and type(back['a'][1][1]) is tuple
    assert from_data(json.loads(json.dumps(to_data([float('inf')])))) == [float('inf')]
    with pytest.raises(CheckpointError, match='builtins.object'):
        from_data(to_data(dict(value=object())))


def test_classes_and_functions_become_their_names():
    from mmengine.optim import OptimWrapper

    from mmvpt.models.prompts import DeepPrompt

    types = [OptimWrapper, DeepPrompt, torch.optim.SGD, torch.nn.LSTM]
    assert to_data([dict(type=kind) for kind in types]) == [
        dict(type='OptimWrapper'),
        dict(type='mmvpt.DeepPrompt'),
        dict(type='SGD'),
        dict(type='torch.nn.modules.rnn.LSTM'),
    ]


def test_absolute_paths_are_cut():
    config = dict(a='/' + 'home/me/vit.pth', b='data/x', c='mmvpt://x', d=['C:\\a\\b'])
    assert without_paths(config) == dict(
        a='vit.pth', b='data/x', c='mmvpt://x', d=['b']
    )


def test_fingerprints():
    weights = {'ln1.weight': torch.randn(4), 'pos_embed': torch.randn(1, 300, 4)}
    mark = fingerprint_of(weights, 'vit.pth', resized=True)
    assert Fingerprint.from_tensor(mark.to_tensor()) == mark
    near = {**weights, 'pos_embed': weights['pos_embed'] + 1e-6}
    far = {**weights, 'pos_embed': weights['pos_embed'] + 1e-3}
    assert not mark.differing(fingerprint_of(near, 'other', resized=True))
    assert mark.differing(fingerprint_of(far, 'other', resized=True)) == ['pos_embed']
    exact = fingerprint_of(weights, 'vit.pth')
    assert exact.differing(fingerprint_of(near, 'x')) == ['pos_embed']
    half = {name: value.half() for name, value in weights.items()}
    assert len(exact.differing(fingerprint_of(half, 'x'))) == 2
    assert exact.sha256 != fingerprint_of(near, 'vit.pth').sha256


def test_fingerprints_of_half_precision():
    weights = {'pos_embed': torch.randn(1, 5, 8).bfloat16()}
    mark = fingerprint_of(weights, 'vit.pth', resized=True, dtype=torch.bfloat16)
    assert 'vit.pth in bfloat16 (fingerprint ' in str(mark)
    assert Fingerprint.from_json(mark.to_json()) == mark
    text = fingerprint_of(weights, 'vit.pth', dtype=torch.float32).to_json()
    assert 'dtype' not in json.loads(text)
    with pytest.raises(CheckpointError, match="dtype 'int3'"):
        Fingerprint.from_json(mark.to_json().replace('"bfloat16"', '"int3"'))
    bits = weights['pos_embed'].view(torch.int16)
    for steps, same in ((1, True), (3, False)):  # resized values round either way
        near = {'pos_embed': (bits + steps).view(torch.bfloat16)}
        other = fingerprint_of(near, 'x', resized=True, dtype=torch.bfloat16)
        assert (mark.differing(other) == []) is same
