# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Every key is accounted for; what does not fit is named and nothing is written."""

import os
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mmvpt.checkpoint import CheckpointError, read_checkpoint
from mmvpt.errors import run_tool
from mmvpt.weights import FORMATS, convert, convert_file
from mmvpt.weights.files import file_hashes, read_metadata
from tests.tools.programs import load_tool
from tests.weights.sources import (
    DEPTH,
    HEADS,
    WIDTH,
    google,
    openai_clip,
    source,
    timm_vit,
)


@pytest.fixture(scope='module')
def weights():
    return {k: v.float() for k, v in timm_vit().state_dict().items()}


def changed(weights, *drop, **add):
    state = {k: v for k, v in weights.items() if not k.startswith(drop)}
    return source({**state, **{k.replace('__', '.'): v for k, v in add.items()}})


def layer(number):
    return f'blocks__{number}__norm1__weight'


@pytest.mark.parametrize(
    ('drop', 'add', 'message'),
    [
        (('blocks.1.',), {}, r'12 missing: layers.1.attn.qkv.weight'),
        (('blocks.2.mlp.fc2.bias',), {}, '1 missing: layers.2.ffn.layers.1.bias'),
        (('norm.',), {}, '2 missing: ln1.weight, ln1.bias'),
        (('patch_embed.proj.bias',), {}, '1 missing: patch_embed.projection.bias'),
        (('pos_embed',), {}, 'a class token, no positions'),
        (('cls_token',), {}, 'no class token'),
        (('blocks.0.mlp',), {}, 'no layers.0.ffn.layers.0.0.weight'),
        ((), {layer(3): torch.ones(WIDTH)}, '11 missing: layers.3'),
        ((), {'extra__weight': torch.ones(1)}, '1 unexpected: extra.weight'),
        ((), {layer(1): torch.ones(5)}, r'layers.1.ln1.weight is \(5,\) instead of'),
        ((), {layer(1): torch.full((WIDTH,), torch.nan)}, 'not finite: layers.1.ln1'),
        ((), {'reg_token': torch.ones(1, 4, WIDTH)}, 'register tokens, but not as'),
        ((), {'dist_token': torch.ones(1, 1, WIDTH)}, 'distillation token'),
        (('norm.',), {'fc_norm__weight': torch.ones(WIDTH)}, 'behind the pooling'),
        ((), {'blocks__0__attn__q_norm__weight': torch.ones(8)}, 'normalised queries'),
        (
            (),
            {'blocks__0__mlp__w12__weight': torch.ones(8, WIDTH)},
            'missing: .*layers.0.ffn.w12.bias',
        ),
        ((), {'pos_embed': torch.ones(1, 13, WIDTH)}, '12 patches'),
        ((), {'pos_embed': torch.ones(WIDTH)}, 'expected 3 axes'),
    ],
)
def test_what_does_not_fit_is_named(weights, drop, add, message):
    with pytest.raises(CheckpointError, match=message):
        convert(changed(weights, *drop, **add), num_heads=HEADS)


def test_heads_are_given_or_known(weights):
    state = source(weights)
    with pytest.raises(CheckpointError, match='width 24 with 3 layers.*--num-heads'):
        convert(state)
    with pytest.raises(CheckpointError, match='24 is not divisible by 5'):
        convert(state, num_heads=5)
    with pytest.raises(CheckpointError, match='is not vit-b: embed_dims is 24'):
        convert(state, num_heads=HEADS, arch='vit-b')


@pytest.mark.parametrize('wrong', [f for f in FORMATS if f not in ('timm', 'mae')])
def test_a_wrong_format_is_refused(weights, wrong):
    state = {k: v for k, v in weights.items() if not k.startswith('head')}
    with pytest.raises(CheckpointError, match=wrong):
        convert(source(state), format=wrong, num_heads=HEADS)


def test_unknown_and_ambiguous_formats(weights):
    with pytest.raises(CheckpointError, match='format is unknown.*stem.conv.weight'):
        convert(source({'stem.conv.weight': torch.ones(1)}))
    both = {**weights, **openai_clip()}
    with pytest.raises(CheckpointError, match='several formats: clip-openai, timm'):
        convert(source(both))
    with pytest.raises(CheckpointError, match="'nonsense' is unknown; known are"):
        convert(source(weights), format='nonsense')
    beit = {'blocks.0.attn.relative_position_bias_table': torch.ones(1)}
    with pytest.raises(CheckpointError, match='unknown .it has relative positions'):
        convert(source(beit))


def test_a_tuned_checkpoint_is_no_pretrained_one(weights):
    state = convert(source(weights), num_heads=HEADS).state
    state = {f'backbone.{k}': v for k, v in state.items()}
    state['backbone.prompt.tokens'] = torch.ones(3, 2, WIDTH)
    with pytest.raises(CheckpointError, match='tuned parameters'):
        convert(source(state), num_heads=HEADS)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('kind', ['pth', 'safetensors', 'npz'])
def test_files_in_and_out(weights, tmp_path, kind, suffix):
    path = tmp_path / f'in.{kind}'
    if kind == 'pth':
        torch.save(dict(state_dict=weights, epoch=3), path)
    elif kind == 'safetensors':
        save_file(weights, path)
    else:
        arrays = google(timm_vit()).items()
        np.savez(path, **{k: v.astype(np.float32) for k, v in arrays})
    before = path.read_bytes()
    dest = tmp_path / 'sub' / f'out{suffix}'
    converted = convert_file(path, dest, num_heads=HEADS, normalization='imagenet')
    assert path.read_bytes() == before
    assert os.listdir(dest.parent) == [dest.name]
    content = read_checkpoint(dest)
    state = content.get('state_dict', content)
    assert set(state) == set(converted.architecture.shapes())
    qkv = weights['blocks.1.attn.qkv.weight']
    assert torch.equal(state['layers.1.attn.qkv.weight'], qkv)
    facts = read_metadata(dest)
    assert facts['sha256'] == file_hashes(path)['sha256']
    assert facts['source'] == path.name
    assert facts['format'] == ('google' if kind == 'npz' else 'timm')
    assert facts['normalization']['mean'] == [123.675, 116.28, 103.53]
    assert facts['architecture']['num_heads'] == HEADS
    assert facts['architecture']['num_layers'] == DEPTH


def test_the_command(weights, tmp_path, monkeypatch, capsys):
    path, dest = tmp_path / 'in.pth', tmp_path / 'out.pth'
    torch.save(weights, path)
    main = load_tool('weights/convert').main
    arguments = [str(path), str(dest), '--to', 'mmvpt', '--num-heads', str(HEADS)]
    main(arguments)
    shown = capsys.readouterr().out
    assert 'format         timm' in shown
    assert 'unused         2: head.weight, head.bias' in shown
    assert "'embed_dims': 24" in shown
    monkeypatch.setattr(sys, 'argv', ['tools/weights/convert.py'])
    with pytest.raises(SystemExit) as error:
        run_tool(lambda: main(arguments))
    assert error.value.code == 1
    shown = capsys.readouterr().err
    assert shown.startswith('convert.py: error: ') and '--overwrite' in shown


def test_a_truncated_file_leaves_nothing(weights, tmp_path):
    good = tmp_path / 'good'
    torch.save(weights, good)
    np.savez(tmp_path / 'good.npz', **google(timm_vit()))
    save_file(weights, tmp_path / 'good.safetensors')
    for name in ('good', 'good.npz', 'good.safetensors'):
        content = (tmp_path / name).read_bytes()
        bad = tmp_path / name.replace('good', 'bad')
        for length in (0, 10, len(content) // 2, len(content) - 10):
            bad.write_bytes(content[:length])
            with pytest.raises(CheckpointError, match='truncated|empty|not a checkp'):
                convert_file(bad, tmp_path / 'out' / 'a.pth', num_heads=HEADS)
    assert not (tmp_path / 'out').exists()


def test_code_in_a_file_does_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'ran'),)

    path = tmp_path / 'evil.pth'
    torch.save(dict(state_dict={}, extra=Evil()), path)
    archive = tmp_path / 'evil.npz'
    np.savez(archive, a=np.array([Evil()], dtype=object))
    for name in (path, archive):
        with pytest.raises(CheckpointError):
            convert_file(name, tmp_path / 'out.pth')
    assert not (tmp_path / 'ran').exists() and not (tmp_path / 'out.pth').exists()


def test_a_program_in_place_of_weights(tmp_path):
    path = tmp_path / 'ViT-B-16.pt'
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    with pytest.raises(CheckpointError, match='TorchScript program, as OpenAI'):
        convert(path)


def test_destinations(weights, tmp_path, monkeypatch):
    path = tmp_path / 'in.pth'
    torch.save(weights, path)
    with pytest.raises(CheckpointError, match=r'must end with .pth or .safetensors'):
        convert_file(path, tmp_path / 'out.bin', num_heads=HEADS)
    with pytest.raises(CheckpointError, match='is the source'):
        convert_file(path, path, overwrite=True, num_heads=HEADS)
    dest = tmp_path / 'out.pth'
    dest.write_bytes(b'old')
    with pytest.raises(CheckpointError, match='--overwrite'):
        convert_file(path, dest, num_heads=HEADS)
    with pytest.raises(CheckpointError, match='missing'):
        convert_file(_save(changed(weights, 'norm.'), path), dest, True, num_heads=3)
    assert dest.read_bytes() == b'old'

    def full(*args, **kwargs):
        raise OSError(28, 'No space left on device')

    _save(source(weights), path)
    monkeypatch.setattr('mmvpt.files.os.replace', full)
    with pytest.raises(CheckpointError, match='No space left'):
        convert_file(path, dest, overwrite=True, num_heads=HEADS)
    assert dest.read_bytes() == b'old'
    assert sorted(os.listdir(tmp_path)) == ['in.pth', 'out.pth']


def _save(changed_source, path):
    torch.save(changed_source.state, path)
    return path
