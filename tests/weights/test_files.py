# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What lies beside the weights in a file or a folder is used, or asked about."""

import json
import os
import sys

import pytest
import torch
from safetensors.torch import save_file

from mmvpt.checkpoint import CheckpointError
from mmvpt.errors import UserError
from mmvpt.weights import convert, convert_file
from mmvpt.weights.files import read_source
from tests.weights import layouts
from tests.weights.layouts import HEADS, HIDDEN, WIDTH, architecture, weights
from tests.weights.sources import source

VIT = architecture('vit', patch_size=8)


def timm(seed=0):
    return layouts.timm(weights(VIT, seed), VIT)


@pytest.mark.parametrize(
    ('content', 'keys'),
    [
        (
            dict(state_dict=timm(), state_dict_ema=timm(1)),
            'state_dict and state_dict_ema',
        ),
        (dict(model=timm(), ema=dict(shadow=timm(1))), 'model and ema.shadow'),
        (dict(teacher=timm(), student=timm(1), epoch=3), 'teacher and student'),
        ({**timm(), 'model_ema': timm(1)}, 'model_ema'),
    ],
)
def test_several_sets_of_weights_are_asked_about(tmp_path, content, keys):
    path = tmp_path / 'a.pth'
    torch.save(content, path)
    with pytest.raises(UserError, match=f'2 sets of weights.*{keys}.*--key'):
        convert(path, num_heads=HEADS)
    other = keys.split()[-1]
    found = convert(path, num_heads=HEADS, key=other)
    wanted = weights(VIT, 1)
    assert torch.equal(found.state['cls_token'], wanted['cls_token'])
    with pytest.raises(UserError, match=f"under 'nothing'; it has some under.*{other}"):
        convert(path, num_heads=HEADS, key='nothing')


def test_equal_copies_and_other_dicts_are_no_question(tmp_path):
    path = tmp_path / 'a.pth'
    optimizer = dict(state={0: dict(exp_avg=torch.ones(2))}, param_groups=[])
    torch.save(dict(module=timm(), ema=timm(), optimizer=optimizer), path)
    assert read_source(path).container == 'module'
    assert convert(path, num_heads=HEADS).format == 'timm'


def test_averages_without_names_are_not_dropped(tmp_path):
    path = tmp_path / 'a.pth'
    ema = dict(decay=0.99, shadow_params=[v + 1 for v in timm().values()])
    torch.save(dict(model=timm(), ema=ema), path)
    with pytest.raises(UserError, match='without names under ema.shadow_params.*--key'):
        convert(path, num_heads=HEADS)
    assert convert(path, num_heads=HEADS, key='model').format == 'timm'


def cast(dtype, *names):
    state = timm()
    return {k: v.to(dtype) if k.endswith(names) else v for k, v in state.items()}


@pytest.mark.parametrize(
    'dtype', [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_small_floats_are_widened_exactly(dtype):
    state = cast(dtype, 'fc1.weight', 'qkv.weight')
    found = convert(source(state), num_heads=HEADS).state
    assert {v.dtype for v in found.values()} == {torch.float32}
    name = 'layers.1.ffn.layers.0.0.weight'
    assert torch.equal(found[name], state['blocks.1.mlp.fc1.weight'].float())
    double = cast(torch.float64, 'weight')
    kept = convert(source(double), num_heads=HEADS).state
    assert kept['layers.0.attn.qkv.weight'].dtype == torch.float64


@pytest.mark.parametrize(
    'dtype', [torch.int8, torch.uint8, torch.bool, torch.complex64, torch.int64]
)
def test_other_types_are_refused_by_name(dtype):
    kind = str(dtype).removeprefix('torch.')
    message = rf'fc1|ffn.layers.0.0.weight is of type {kind}.*float32 or float64'
    with pytest.raises(UserError, match=message):
        convert(source(cast(dtype, 'blocks.1.mlp.fc1.weight')), num_heads=HEADS)


def test_quantised_weights_are_refused():
    state = {**timm(), 'blocks.0.attn.qkv.SCB': torch.ones(72)}
    with pytest.raises(UserError, match='SCB.*quantised weights'):
        convert(source(state), num_heads=HEADS)


def test_the_grid_is_given_where_rows_do_not_tell():
    for size, rows in (((4, 6), 25), ((3, 4), 13)):
        arch = architecture('vit', patch_size=8, img_size=(8 * size[0], 8 * size[1]))
        state = layouts.timm(weights(arch), arch)
        with pytest.raises(UserError, match=f'{rows} rows.*--grid'):
            convert(source(state), num_heads=HEADS)
        found = convert(source(state), num_heads=HEADS, grid=size)
        assert found.architecture == arch
        assert found.architecture.backbone_options()['img_size'] == arch.img_size
        assert torch.equal(found.state['pos_embed'], state['pos_embed'])
    with pytest.raises(UserError, match='grid of 5 x 5 patches needs 25 or 26'):
        convert(source(state), num_heads=HEADS, grid='5x5')
    with pytest.raises(UserError, match="HEIGHTxWIDTH in patches.*got '12'"):
        convert(source(state), num_heads=HEADS, grid='12')


def hub_folder(folder, state, **config):
    folder.mkdir(exist_ok=True)
    state = {k: v.clone().contiguous() for k, v in state.items()}
    save_file(state, folder / 'model.safetensors')
    (folder / 'config.json').write_text(json.dumps(config))
    images = dict(image_mean=[0.5] * 3, image_std=[0.5] * 3)
    (folder / 'preprocessor_config.json').write_text(json.dumps(images))
    return folder


CONFIG = dict(
    model_type='vit',
    hidden_size=WIDTH,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=HIDDEN,
    image_size=32,
    patch_size=8,
    hidden_act='gelu',
    layer_norm_eps=1e-7,
)


def test_a_folder_of_hugging_face_tells_all(tmp_path):
    folder = hub_folder(tmp_path / 'a', layouts.hf4(weights(VIT), VIT), **CONFIG)
    found = convert_file(folder, tmp_path / 'out.safetensors')
    options = found.architecture.backbone_options()
    assert options['arch']['num_heads'] == 4
    assert options['norm_cfg'] == dict(type='LN', eps=1e-7)
    assert found.normalization.mean == (127.5,) * 3
    assert found.origins['num_heads'] == found.origins['norm_eps'] == 'source'
    assert convert(folder / 'model.safetensors').architecture == found.architecture
    # Read once more, the written file has lost nothing.
    again = convert(tmp_path / 'out.safetensors')
    assert again.architecture == found.architecture
    assert again.normalization == found.normalization


@pytest.mark.parametrize(
    ('changes', 'options', 'message'),
    [
        ({}, dict(num_heads=3), 'num_heads=4, the option 3'),
        (dict(num_hidden_layers=3), {}, 'num_layers is 2, not 3'),
        (dict(hidden_size=48), {}, 'embed_dims is 24, not 48'),
        (dict(intermediate_size=96), {}, 'feedforward_channels is 40, not 96'),
        (dict(image_size=48), {}, 'a grid of 6 x 6 patches needs 37'),
        (dict(model_type='data2vec-vision'), {}, "type 'data2vec-vision'.*--family"),
        (dict(hidden_act='relu'), {}, "hidden_act='relu'"),
        (dict(model_type='dinov3_vit'), {}, 'not of the family'),
    ],
)
def test_a_config_that_disagrees_is_an_error(tmp_path, changes, options, message):
    state = layouts.hf4(weights(VIT), VIT)
    folder = hub_folder(tmp_path / 'a', state, **{**CONFIG, **changes})
    with pytest.raises(UserError, match=message):
        convert(folder, **options)


def test_the_tower_of_a_whole_model(tmp_path):
    """Nested configs leave out what is as transformers has it by default."""
    arch = architecture('siglip', embed_dims=768, num_layers=1, num_heads=12)
    tower = layouts.hf_tower
    state = {f'vision_model.{k}': v for k, v in tower(weights(arch), arch).items()}
    state['logit_scale'] = torch.ones(1)
    vision = dict(num_hidden_layers=1, intermediate_size=HIDDEN, image_size=64)
    config = dict(model_type='siglip', vision_config=vision)
    found = convert(hub_folder(tmp_path / 'a', state, **config))
    assert found.architecture == arch


def test_without_network_the_hub_says_what_to_do(monkeypatch):
    pytest.importorskip('huggingface_hub')
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(CheckpointError, match='could not provide.*Gated.*its path'):
        convert('hf://mmvpt-test/there-is-no-such-model')
    with pytest.raises(CheckpointError, match='write hf://ORG/NAME'):
        convert('hf://name')
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(CheckpointError, match='pip install huggingface_hub'):
        convert('hf://facebook/dinov2-base')


def test_a_model_of_the_hub_is_a_folder(monkeypatch, tmp_path):
    hub = pytest.importorskip('huggingface_hub')
    state = layouts.hf4(weights(VIT), VIT)
    folder = hub_folder(tmp_path / 'a', state, **CONFIG)

    def snapshot_download(name, revision, allow_patterns):
        assert (name, revision) == ('org/vit', 'main')
        return os.fspath(folder)

    monkeypatch.setattr(hub, 'snapshot_download', snapshot_download)
    assert convert('hf://org/vit@main').architecture.num_heads == 4
