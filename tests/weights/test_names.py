# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Names of known checkpoints, from a config to weights and normalisation."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmvpt.checkpoint import CheckpointError
from mmvpt.models.vit import PromptedVisionTransformer
from mmvpt.weights import (
    ARCHITECTURES,
    FORMATS,
    KNOWN_CHECKPOINTS,
    NORMALIZATIONS,
    KnownCheckpoint,
    as_normalization,
    convert,
    convert_file,
    names,
    normalization,
    resolve,
)
from tests.weights.sources import HEADS, WIDTH, google, source, timm_vit

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize('known', KNOWN_CHECKPOINTS.values(), ids=lambda k: k.name)
def test_entries_are_consistent(known):
    assert re.fullmatch(r'vit-(tiny|small|base|large|huge)-p\d+_[a-z0-9-]+', known.name)
    assert known.arch in ARCHITECTURES and set(known.formats) <= set(FORMATS)
    assert known.normalization in NORMALIZATIONS
    assert known.image_size % known.patch_size == 0
    assert f'-p{known.patch_size}_' in known.name
    assert known.url or known.timm
    ending = re.search(r'-([0-9a-f]{8})\.pth$', known.url or '')
    assert known.sha256 == (ending and ending[1])


@pytest.mark.parametrize(
    'known', [k for k in KNOWN_CHECKPOINTS.values() if k.timm], ids=lambda k: k.name
)
def test_timm_agrees_about_its_models(known):
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(known.timm)
    assert normalization(f'timm://{known.timm}').is_close(
        NORMALIZATIONS[known.normalization]
    )
    assert config.input_size == (3, known.image_size, known.image_size)
    if 'clip' not in known.name:  # timm states its own licence for CLIP
        assert config.license == known.licence.lower()


def test_the_documentation_lists_all_of_them():
    text = (ROOT / 'docs/weights.md').read_text()
    for known in KNOWN_CHECKPOINTS.values():
        row = next(line for line in text.splitlines() if f'| `{known.name}` |' in line)
        for fact in (known.note, known.licence, known.url or known.source):
            assert fact in row, known.name
        assert f'| {known.image_size} | {known.normalization} |' in row
    assert all(f'| `{name}` | {form.title} |' in text for name, form in FORMATS.items())


def test_every_config_names_a_known_checkpoint():
    used = set()
    for path in (ROOT / 'configs/_base_/models').glob('*.py'):
        checkpoint = Config.fromfile(path).model.backbone.init_cfg.checkpoint
        if checkpoint.startswith('mmvpt://'):
            used.add(names.known_checkpoint(checkpoint).name)
    assert {'vit-base-p16_in21k', 'vit-base-p16_mae', 'vit-base-p16_mocov3'} <= used


def test_a_name_becomes_a_path(tmp_path, monkeypatch):
    assert resolve('some/file.pth') == 'some/file.pth'
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('MMVPT_CHECKPOINTS', raising=False)
    with pytest.raises(CheckpointError) as caught:
        resolve('mmvpt://vit-base-p16_in21k')
    text = str(caught.value)
    known = KNOWN_CHECKPOINTS['vit-base-p16_in21k']
    assert f'curl -fLO {known.url}\n' in text
    path = 'checkpoints/vit-base-p16_in21k.pth'
    assert f'python tools/weights/convert.py ViT-B_16.npz {path} --to mmvpt' in text
    with pytest.raises(CheckpointError, match='convert.py timm:vit_base_patch16_'):
        resolve('mmvpt://vit-base-p16_augreg-in21k')
    with pytest.raises(CheckpointError, match='no known checkpoint; known are vit'):
        resolve('mmvpt://vit-base')

    (tmp_path / 'checkpoints').mkdir()
    (tmp_path / path).touch()
    assert resolve('mmvpt://vit-base-p16_in21k') == path
    monkeypatch.setenv('MMVPT_CHECKPOINTS', str(tmp_path / 'else'))
    with pytest.raises(CheckpointError, match='else/vit-base-p16_in21k.pth'):
        resolve('mmvpt://vit-base-p16_in21k')
    (tmp_path / 'else').mkdir()
    (tmp_path / 'else/vit-base-p16_in21k.safetensors').touch()
    assert resolve('mmvpt://vit-base-p16_in21k').endswith('in21k.safetensors')


@pytest.fixture
def mini(tmp_path, monkeypatch):
    """A known checkpoint of our size, its file and its hash."""
    path = tmp_path / 'Mini.npz'
    arrays = google(timm_vit())
    np.savez(path, **{k: v.astype(np.float32) for k, v in arrays.items()})
    known = KnownCheckpoint(
        name='vit-mini-p8_in21k',
        arch='vit-mini',
        patch_size=8,
        image_size=32,
        formats=('google',),
        normalization='half',
        licence='Apache-2.0',
        note='a miniature',
        url='https://example.org/Mini.npz',
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    monkeypatch.setitem(KNOWN_CHECKPOINTS, known.name, known)
    monkeypatch.setitem(ARCHITECTURES, 'vit-mini', (WIDTH, 3, HEADS))
    monkeypatch.setenv('MMVPT_CHECKPOINTS', str(tmp_path))
    return path, tmp_path / f'{known.name}.pth', f'mmvpt://{known.name}'


def build(checkpoint, **options):
    options = {
        **dict(
            arch=dict(
                embed_dims=WIDTH,
                num_layers=3,
                num_heads=HEADS,
                feedforward_channels=4 * WIDTH,
            ),
            img_size=32,
            patch_size=8,
            out_type='raw',
            init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint)),
        ),
        **options,
    }
    vit = PromptedVisionTransformer(**options)
    vit.init_weights()
    return vit.eval()


@torch.no_grad()
def test_from_a_published_file_to_features(mini):
    path, dest, name = mini
    assert convert_file(path, dest).known == dest.stem
    vit = timm_vit().float()
    x = torch.randn(2, 3, 32, 32)
    got = build(name)(x)[0]
    torch.testing.assert_close(got, vit.forward_features(x), rtol=1e-6, atol=1e-6)
    assert normalization(str(dest)) == NORMALIZATIONS['half']


def test_the_source_must_be_what_the_destination_is_called(mini):
    path, dest, _ = mini
    state = source(timm_vit().state_dict())
    torch.save(state.state, path.with_suffix('.pth'))
    with pytest.raises(CheckpointError, match='has the format timm, but vit-mini'):
        convert_file(path.with_suffix('.pth'), dest)
    arrays = google(timm_vit(seed=1))
    np.savez(path, **arrays)
    with pytest.raises(CheckpointError, match='the file is damaged or another one'):
        convert_file(path, dest)
    assert convert_file(path, dest.with_name('other.pth')).known is None
    arrays = google(timm_vit(depth=2))
    np.savez(path, **arrays)
    known = KNOWN_CHECKPOINTS[dest.stem]
    KNOWN_CHECKPOINTS[dest.stem] = type(known)(**{**vars(known), 'sha256': None})
    with pytest.raises(CheckpointError, match='num_layers is 2, not 3'):
        convert_file(path, dest)
    assert not dest.exists()


def test_loading_compares_what_no_shape_tells(tmp_path, caplog):
    path = tmp_path / 'a.safetensors'
    state = {k: v.float() for k, v in timm_vit(init_values=1.0).state_dict().items()}
    torch.save(state, tmp_path / 'a.pt')
    converted = convert_file(tmp_path / 'a.pt', path, num_heads=HEADS)
    options = converted.architecture.backbone_options()
    build(path, **options)
    arch = dict(options['arch'], num_heads=4)
    with pytest.raises(ValueError, match='num_heads=3, the backbone has 4. Set arch'):
        build(path, **dict(options, arch=arch))
    act = dict(act_cfg=dict(type='mmpretrain.QuickGELU'))
    with pytest.raises(ValueError, match="activation='gelu', the backbone has 'quick"):
        build(path, **dict(options, layer_cfgs=act))
    with pytest.raises(ValueError, match='6 weights that this backbone would leave'):
        build(path, **dict(options, layer_scale_init_value=0.0))
    with pytest.raises(ValueError, match='4 weights that this backbone would leave'):
        build(
            tmp_path / 'b.pth',
            **_without_biases(tmp_path / 'b.pth'),
        )


def _without_biases(path):
    """Write a checkpoint with qkv biases; return options of a backbone without."""
    torch.save(convert(source(timm_vit().state_dict()), num_heads=HEADS).state, path)
    return dict(qkv_bias=False, patch_cfg=dict(bias=False))


def test_normalizations():
    half = as_normalization(dict(mean=[127.5] * 3, std=[127.5] * 3))
    assert half.is_close(NORMALIZATIONS['half'])
    assert not half.is_close(NORMALIZATIONS['imagenet'])
    for wrong in ('in1k', dict(mean=[1, 2, 3]), dict(mean=[1] * 3, std=[0] * 3), 3):
        with pytest.raises(ValueError, match="'imagenet', 'half', 'clip', 'sat"):
            as_normalization(wrong)
    with pytest.raises(ValueError, match='a normalisation is one of'):
        build(
            'a.pth',
            init_cfg=dict(type='Pretrained', checkpoint='a.pth', normalization='in1k'),
        )
    assert normalization('nowhere.pth') is None
