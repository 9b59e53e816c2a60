# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Every cell of method, backbone, head and data is a sound config of few lines."""

import copy
import functools
import importlib.util
import itertools
import re
from pathlib import Path

import mmseg
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmvpt.engine.checks import check
from mmvpt.errors import UserError
from mmvpt.models.tunable import count_parameters
from mmvpt.weights import NORMALIZATIONS, as_normalization
from mmvpt.weights.families import FAMILIES
from mmvpt.weights.names import known_checkpoint
from mmvpt.zoo import backbones, cells
from mmvpt.zoo.tables import TASKS
from tests.config_files import ROOT
from tests.segmentation import shrink_model
from tools import zoo

VTAB = [task for task in TASKS if task.startswith('vtab-')]
EVERY = [
    *itertools.product(cells.METHODS, backbones.NAMED, cells.DATA, cells.HEADS),
    *itertools.product(cells.METHODS, backbones.NAMED, ['cub', *VTAB], [None]),
]
#: One for each family and head, of all methods and data.
SOME = [
    ('davpt-plus', 'siglip2-l', 'pascal-context', 'linear'),
    ('davpt-plus', 'dinov3-b', 'ade20k', 'upernet'),
    ('vpt-deep', 'dinov2-reg-l', 'ade20k', 'mask2former'),
    ('lora', 'dinov2-b', 'pascal-context', 'setr-pup'),
    ('davpt', 'siglip2-b', 'vtab-dtd', None),
    ('frozen', 'dinov3-l', 'cub', None),
]
MMDET = importlib.util.find_spec('mmdet') is not None


def flat(heads):
    """Return heads as a list."""
    return heads if isinstance(heads, list) else [heads] if heads else []


@functools.cache
def guided(method, data, head):
    """Return the layers that are guided on ViT-B, from the last one on."""
    model = cells.compose(method, None, data, head).config().model
    prompt = model.backbone.get('prompt') or {}
    depth = 24 if head == 'setr-pup' else 12
    return [i % depth - depth for i in prompt.get('guided_layers', (-1,))]


def check_cell(method, backbone, data, head):
    """Look at the numbers of a cell; return its config."""
    config = cells.compose(method, backbone, data, head).config()
    compiled = MMDET and importlib.util.find_spec('mmcv._ext') is not None
    if head != 'mask2former' or compiled:
        check(config)
    else:
        with pytest.raises(UserError, match='pip install onedl-mmdetection'):
            check(config)
    model, vit = config.model, config.model.backbone
    known = known_checkpoint(vit.init_cfg.checkpoint)
    assert (known.name, known.arch) == (backbones.NAMED[backbone], vit.arch)
    used = model.get('data_preprocessor') or config.data_preprocessor
    images = as_normalization({key: list(used[key]) for key in ('mean', 'std')})
    assert images.is_close(NORMALIZATIONS[known.normalization])
    assert vit.patch_size == known.patch_size and not vit.img_size % vit.patch_size
    family = FAMILIES[backbone[: backbone.rfind('-')].replace('siglip2', 'siglip')]
    tuned, prompt = vit.get('tunable'), vit.get('prompt') or {}
    guidance = config.default_hooks.get('metric_guidance')
    assert (guidance is not None) == method.startswith('davpt')
    if method.startswith('davpt') and not family.with_cls_token:
        assert guidance.cls_weight == 0 and tuned != 'davpt+'
    assert (tuned is not None) == (method == 'davpt-plus')
    assert ('adapter' in vit) == (method == 'lora')
    last = dict(b=12, l=24)[backbone[-1]] - 1
    layers = prompt.get('guided_layers', (-1,))
    assert [layer % (last + 1) - last - 1 for layer in layers] == guided(
        method, data, head
    )
    if head is None:
        assert vit.img_size == 224
        return config
    assert vit.out_indices[-1] == last
    assert used.size == (vit.img_size,) * 2 and vit.img_size in (512, 518)
    assert used.test_cfg.size_divisor == vit.patch_size
    assert model.test_cfg.get('crop_size', used.size) == used.size
    classes = cells.DATA[data].num_classes
    heads = [model.decode_head, *flat(model.get('auxiliary_head'))]
    assert {h.num_classes for h in heads} == {prompt.get('num_classes', classes)}
    assert {classes} == {h.num_classes for h in heads}
    assert len(config.train_dataloader.dataset.pipeline)
    return config


def build(config, device='meta'):
    """Build the model of a cell, without memory if need be; say how much trains."""
    with DefaultScope.overwrite_default_scope(config.default_scope):
        with torch.device(device):
            model = MODELS.build(copy.deepcopy(config.model))
    return model, count_parameters(model)[0]


@pytest.mark.parametrize('cell', SOME, ids=lambda cell: '-'.join(map(str, cell)))
def test_cell(cell):
    config = check_cell(*cell)
    if cell[3] != 'mask2former':
        model, tuned = build(config)
        decoder = getattr(model, 'decode_head', None) or model.head
        assert tuned > sum(p.numel() for p in decoder.parameters()) or (
            cell[0] == 'frozen'
        )


@pytest.mark.sweep
@pytest.mark.parametrize('method', cells.METHODS)
def test_every_cell(method):
    """All are checked; one model for each head, size and family."""
    seen = set()
    for cell in EVERY:
        if cell[0] != method:
            continue
        config = check_cell(*cell)
        kind = (cell[1], cell[3])
        if cell[3] != 'mask2former' and kind not in seen:
            seen.add(kind)
            build(config)


@pytest.mark.parametrize(
    'cell', [SOME[0], SOME[3], SOME[5]], ids=['own', 'list of heads', 'task']
)
def test_what_the_tool_writes(cell, tmp_path, capsys):
    """The same config as composed, wherever it is written, in few lines."""
    method, backbone, data, head = cell
    args = ['--backbone', backbone, '--method', method, '--data', data]
    args += ['--head', head] if head else []
    path = tmp_path / 'new/cell.py'
    zoo.main([*args, '--out', str(path)])
    expected = cells.compose(*cell).config()
    assert Config.fromfile(path).to_dict() == expected.to_dict()
    zoo.main(args)
    text = capsys.readouterr().out
    assert text.split('_base_')[0].count(' '.join(['zoo.py'])) == 1
    assert len(text.split('_base_ = ')[1].splitlines()) <= 35
    assert f"'{(ROOT / 'configs').as_posix()}" not in text  # relative in the tree


def test_another_backbone_is_one_row(monkeypatch):
    monkeypatch.setitem(backbones.NAMED, 'mae', 'vit-base-p16_mae')
    config = cells.compose('vpt-deep', 'mae', 'ade20k', 'linear').config()
    assert config.model.data_preprocessor.mean == [123.675, 116.28, 103.53]


@pytest.mark.parametrize(
    ('cell', 'message'),
    [
        (('vpt-depp', 'dinov3-b', 'cub'), '--method vpt-depp: there are .*vpt-deep'),
        (('vapt', 'dinov3-b', 'ade20k'), '--method vapt: there are frozen, vpt-deep'),
        (('frozen', 'dinov9-b', 'cub'), '--backbone dinov9-b: .*dinov3-l'),
        (('frozen', 'dinov3-b', 'ade'), '--data ade: there are ade20k'),
        (('frozen', 'dinov3-b', 'cub', 'linear'), 'cub has no masks'),
        (('frozen', 'dinov3-b', 'ade20k', 'fpn'), '--head fpn: there are upernet'),
    ],
)
def test_mistakes(cell, message):
    with pytest.raises(UserError, match=message):
        cells.compose(*cell)


@pytest.mark.sweep
@pytest.mark.skipif(not MMDET, reason='mmdetection is not installed')
@pytest.mark.parametrize('cell', [('davpt-plus', 'dinov3-b'), ('lora', 'siglip2-b')])
def test_mask2former_trains_and_predicts(cell, tmp_path):
    """The decoder as it is, on a small backbone of the family."""
    from tests.projects import compiled_ops

    compiled_ops.provide_mask2former()
    config = cells.compose(*cell, 'ade20k', 'mask2former').config()
    shrink_model(config.model, (64, 64))
    model = build(config, 'cpu')[0].train()
    samples = [
        SegDataSample(
            metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)),
            gt_sem_seg=PixelData(data=torch.randint(0, 150, (1, 64, 64))),
        )
        for _ in range(2)
    ]
    images = torch.randn(2, 3, 64, 64)
    losses = model(images, samples, mode='loss')
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    tuned = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert any(n.startswith('backbone.') for n in tuned)
    assert all(p.grad is not None for n, p in tuned.items() if n[:8] == 'backbone')
    with torch.no_grad():
        found = model.eval()(images, samples, mode='predict')
    assert found[0].seg_logits.data.shape == (150, 64, 64)


def test_ten_lines_for_mmsegmentation(tmp_path):
    """The recipe of docs/backbones.md, made small, takes a step."""
    page = (ROOT / 'docs/backbones.md').read_text()
    (code,) = re.findall(r'```python\n(# configs/own/dinov3_.*?)```', page, re.DOTALL)
    path = tmp_path / 'dinov3_ade20k.py'
    configs = Path(mmseg.__file__).parent / '.mim/configs'
    path.write_text(code.replace("'../vit/", f"'{configs}/vit/"))
    config = Config.fromfile(path)
    check(config)
    assert config.model.backbone.arch == 'dinov3-b'
    build(config)
    shrink_model(config.model, (32, 32))
    model = revert_sync_batchnorm(build(config, 'cpu')[0]).train()
    assert model.backbone.family == 'dinov3'
    optim_wrapper = build_optim_wrapper(model, config.optim_wrapper)
    before = copy.deepcopy(model.state_dict())
    sample = SegDataSample(
        gt_sem_seg=PixelData(data=torch.randint(0, 150, (1, 32, 32)))
    )
    losses = model(torch.randn(2, 3, 32, 32), [sample, sample], mode='loss')
    optim_wrapper.update_params(model.parse_losses(losses)[0])
    moved = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    frozen = {n for n in before if n.startswith('backbone.') and '.prompt.' not in n}
    assert 'backbone.prompt.tokens' in moved and not moved & frozen
