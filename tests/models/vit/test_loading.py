# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Loading weights: strict, and with messages that say what to do."""

import os

import pytest
import torch
from mmengine.runner import load_checkpoint

from mmvpt.checkpoint import CheckpointError
from mmvpt.models.vit import PromptedVisionTransformer

ARCH = dict(embed_dims=24, num_layers=3, num_heads=3, feedforward_channels=48)
PROMPT = dict(type='DeepPrompt', num_tokens=2)


def build(checkpoint=None, prefix=None, **kwargs):
    init_cfg = None
    if checkpoint is not None:
        init_cfg = dict(type='Pretrained', checkpoint=str(checkpoint), prefix=prefix)
    options = dict(
        dict(arch=ARCH, img_size=32, patch_size=8, init_cfg=init_cfg), **kwargs
    )
    vit = PromptedVisionTransformer(**options)
    if checkpoint is not None:
        vit.init_weights()
    return vit


@pytest.fixture
def source():
    torch.manual_seed(1)
    vit = build()
    for parameter in vit.parameters():
        parameter.data.normal_()
    return vit


def save(path, state):
    torch.save(state, path)
    return path


@pytest.mark.parametrize('wrap', ['plain', 'state_dict', 'model', 'backbone', 'prefix'])
def test_every_usual_wrapping(source, tmp_path, wrap):
    state, prefix = source.state_dict(), None
    if wrap == 'backbone':
        state = {f'backbone.{k}': v for k, v in state.items()}
        state['head.fc.weight'] = torch.zeros(1)
    elif wrap == 'prefix':
        state, prefix = {f'encoder.q.{k}': v for k, v in state.items()}, 'encoder.q'
    if wrap != 'plain':
        state = {'model' if wrap == 'model' else 'state_dict': state}
    vit = build(save(tmp_path / 'a.pth', state), prefix, prompt=PROMPT)
    for name, value in source.state_dict().items():
        assert torch.equal(vit.state_dict()[name], value), name
    assert vit.prompt.tokens.abs().max() > 0


def test_a_list_of_one_init_cfg_keeps_the_positions(source, tmp_path):
    path = save(tmp_path / 'a.pth', source.state_dict())
    vit = build(init_cfg=[dict(type='Pretrained', checkpoint=str(path))])
    vit.init_weights()
    assert torch.equal(vit.pos_embed, source.pos_embed)


def test_weights_are_loaded_once(source, tmp_path):
    """A second ``init_weights``, of a model around it, keeps what was trained since."""
    vit = build(save(tmp_path / 'a.pth', source.state_dict()))
    vit.cls_token.data.zero_()
    vit.init_weights()
    assert not vit.cls_token.any()


def test_positions_are_resized(source, tmp_path):
    path = save(tmp_path / 'a.pth', source.state_dict())
    assert build(path, img_size=64).pos_embed.shape == (1, 65, 24)
    assert build(path, img_size=(32, 64)).pos_embed.shape == (1, 33, 24)


def test_positions_of_a_grid_that_is_not_square(tmp_path):
    path = save(tmp_path / 'a.pth', build(img_size=(32, 48)).state_dict())
    build(path, img_size=(32, 48))
    with pytest.raises(ValueError, match='24 patches, no square number'):
        build(path, img_size=32)


@pytest.mark.parametrize('final_norm', ['fresh-frozen', 'fresh-trained'])
def test_fresh_norm_ignores_the_checkpoint(source, tmp_path, final_norm):
    path = save(tmp_path / 'a.pth', source.state_dict())
    vit = build(path, final_norm=final_norm)
    assert torch.equal(vit.ln1.weight, torch.ones(24))
    state = {k: v for k, v in source.state_dict().items() if not k.startswith('ln1')}
    build(save(tmp_path / 'b.pth', state), final_norm=final_norm)
    # A checkpoint of our own training is another matter: it holds the trained norm.
    vit.load_state_dict(source.state_dict())
    assert torch.equal(vit.ln1.weight, source.ln1.weight)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch=dict(ARCH, embed_dims=48)), r'cls_token is \(1, 1, 24\).*48'),
        (dict(arch=dict(ARCH, num_layers=2)), 'has 3 layers and the model 2'),
        (dict(arch=dict(ARCH, num_layers=4)), 'has 3 layers and the model 4'),
        (dict(patch_size=16), r'patch_embed.*\(24, 3, 8, 8\)'),
        (dict(in_channels=1), 'patch_embed'),
        (dict(layer_scale_init_value=0.1), 'lacks 6 weights'),
        (dict(prefix='encoder.'), "under the prefix 'encoder.'"),
    ],
)
def test_another_model_is_refused(source, tmp_path, options, message):
    path = save(tmp_path / 'a.pth', source.state_dict())
    with pytest.raises(ValueError, match=message):
        build(path, **options)


def test_foreign_names_are_converted_or_explained(tmp_path):
    from timm.models.vision_transformer import VisionTransformer

    timm = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=192, depth=12, num_heads=3, mlp_ratio=0.25
    )
    arch = dict(embed_dims=192, num_layers=12, num_heads=3, feedforward_channels=48)
    path = save(tmp_path / 'a.pth', dict(model=timm.state_dict()))
    vit = build(path, arch=arch)
    qkv = timm.blocks[3].attn.qkv.weight
    assert torch.equal(vit.layers[3].attn.qkv.weight, qkv)
    path = save(tmp_path / 'a.pth', {'blocks.0.norm1.weight': torch.ones(24)})
    with pytest.raises(ValueError, match='does not convert as timm.*convert.py'):
        build(path)


def test_positions_of_another_grid_with_as_many_patches(tmp_path):
    """6 x 6 patches are no 4 x 9 patches."""
    square = build(img_size=48)
    square.pos_embed.data.normal_()
    path = save(tmp_path / 'a.pth', square.state_dict())
    with pytest.raises(ValueError, match=r'6 x 6 patches.*or of 4 x 9.*grid=\(6, 6\)'):
        build(path, img_size=(32, 72))

    def load(grid):
        init_cfg = dict(type='Pretrained', checkpoint=str(path), grid=grid)
        vit = build(img_size=(32, 72), init_cfg=init_cfg)
        vit.init_weights()
        return vit.pos_embed

    assert torch.equal(load((4, 9)), square.pos_embed)
    patches = square.pos_embed[:, 1:].mT.unflatten(2, (6, 6))
    wanted = torch.nn.functional.interpolate(
        patches, size=(4, 9), mode='bicubic', align_corners=False
    )
    assert torch.equal(load((6, 6))[:, 1:], wanted.flatten(2).mT)
    assert torch.equal(load((6, 6))[:, :1], square.pos_embed[:, :1])
    noted = dict(mmvpt_weights=dict(architecture=dict(img_size=48, patch_size=8)))
    torch.save(dict(state_dict=square.state_dict(), meta=noted), path)
    assert torch.equal(load((6, 6))[:, :1], square.pos_embed[:, :1])
    with pytest.raises(ValueError, match=r'grid=\(4, 9\), but .* are of 6 x 6 patches'):
        load((4, 9))


def test_several_sets_and_integers_are_refused(source, tmp_path):
    state = source.state_dict()
    ema = {k: v + 1 for k, v in state.items()}
    path = save(tmp_path / 'a.pth', dict(state_dict=state, ema_state_dict=ema))
    with pytest.raises(ValueError, match="state_dict and ema_state_dict.*key='ema_st"):
        build(path)
    init_cfg = dict(type='Pretrained', checkpoint=str(path), key='ema_state_dict')
    vit = build(init_cfg=init_cfg)
    vit.init_weights()
    assert torch.equal(vit.cls_token, ema['cls_token'])
    state['layers.0.attn.proj.weight'] = torch.ones(24, 24, dtype=torch.int8)
    with pytest.raises(ValueError, match='layers.0.attn.proj.weight is of type int8'):
        build(save(tmp_path / 'b.pth', state))


def test_missing_file(tmp_path):
    with pytest.raises(Exception, match='none.pth'):
        build(tmp_path / 'none.pth')


class Malicious:
    """Code in a checkpoint that leaves a trace when it runs."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_no_code_of_the_file_runs(source, tmp_path):
    """Whatever tool builds the backbone: ours prepare mmengine, others do not."""
    state = dict(source.state_dict(), extra=Malicious(tmp_path / 'ran'))
    path = save(tmp_path / 'a.pth', state)
    with pytest.raises(CheckpointError, match='mkdir, which would run as code'):
        build(path)
    assert not (tmp_path / 'ran').exists()


def test_load_checkpoint_of_mmengine_is_guarded_too(source, tmp_path):
    trained = build(prompt=PROMPT)
    path = str(save(tmp_path / 'a.pth', {'state_dict': trained.state_dict()}))
    load_checkpoint(build(prompt=PROMPT), path)
    with pytest.raises(ValueError, match=r'prompt.tokens is \(3, 2, 24\).*num_tokens'):
        load_checkpoint(build(prompt=dict(PROMPT, num_tokens=5)), path)
    with pytest.raises(ValueError, match='3 layers and the model 2'):
        load_checkpoint(build(arch=dict(ARCH, num_layers=2)), path)
