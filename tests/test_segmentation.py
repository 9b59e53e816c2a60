# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Segmentation configs, made small, train: methods, decoders, ways of training."""

import copy

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmvpt.models.tunable import count_parameters, tuned_names
from tests.config_files import CONFIGS, ROOT, load
from tests.segmentation import make_data, small
from tools import test as test_tool
from tools import train as train_tool

FACE = 'davpt/ade20k.py'
UPERNET = '{}_upernet-vit-base-p16_ade20k.py'
CAMVID = '{}_upernet-vit-mini_camvid.py'
SETR = '{}_setr-pup-vit-large-p16_ade20k.py'
#: One run for each: name of the config, changes.
RUNS = {
    'shallow': ('vpt/' + UPERNET.format('vpt-shallow'), {}),
    'gated': ('gatedvpt/' + UPERNET.format('gatedvpt'), {}),
    'adaptive': ('vapt/' + UPERNET.format('vapt'), {}),
    'full': ('baselines/' + UPERNET.format('full'), {}),
    'frozen': ('baselines/' + UPERNET.format('frozen'), {}),
    'LoRA': ('baselines/' + UPERNET.format('lora'), {}),
    'SSF': ('baselines/' + UPERNET.format('ssf'), {}),
    'Adapter+': ('baselines/' + UPERNET.format('adapter-plus'), {}),
    'linear head': ('baselines/probe_linear-vit-base-p16_ade20k.py', {}),
    'SETR-PUP, slide': ('davpt/' + SETR.format('davpt-plus'), {}),
    'SETR-PUP of Gated': ('gatedvpt/gatedvpt_setr-pup-vit-base-p16-mae_ade20k.py', {}),
    'Pascal Context': ('vpt/vpt-deep_upernet-vit-base-p16_pascal-context.py', {}),
    'crops that are not square': (FACE, dict(crop=(32, 48))),
    'crops of no whole patches': (FACE, dict(model__data_preprocessor__size=(36, 44))),
    'labels of patches': (
        FACE,
        dict(
            model__backbone__prompt__labels='patch',
            model__data_preprocessor__size=(36, 44),
        ),
    ),
    'accumulation': (FACE, dict(optim_wrapper__accumulative_counts=2)),
    'bfloat16': (FACE, dict(optim_wrapper__type='mmvpt.AutocastOptimWrapper')),
    'slide': (
        FACE,
        dict(model__test_cfg=dict(mode='slide', crop_size=(32, 32), stride=(21, 21))),
    ),
}


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    """Both data sets, in one folder."""
    root = tmp_path_factory.mktemp('data')
    for name in (FACE, RUNS['Pascal Context'][0]):
        make_data(root, small(name, root))
    return root


def train(name, data_root, work_dir, **changes):
    """Train a small config; return the runner and the weights it started from."""
    config = small(name, data_root, work_dir=str(work_dir), **changes)
    runner = Runner.from_cfg(config)
    runner.model.init_weights()
    start = copy.deepcopy(runner.model.state_dict())
    runner.train()
    return runner, start


@pytest.mark.parametrize('what', RUNS)
def test_trains_and_validates(what, data_root, tmp_path):
    name, changes = RUNS[what]
    runner, start = train(name, data_root, tmp_path, **changes)
    assert runner.iter == 2
    assert 0 <= runner.message_hub.get_scalar('val/mIoU').current() <= 100
    tuned, state = set(tuned_names(runner.model)), runner.model.state_dict()
    frozen = {n for n, _ in runner.model.named_parameters()} - tuned
    assert all(torch.equal(state[n], start[n]) for n in frozen)
    assert all(n.startswith('backbone.') for n in frozen)
    # a bias before a norm, or of keys, has no gradient; whole tensors do
    moved = {n for n in tuned if not torch.equal(state[n], start[n])}
    assert {n for n in tuned if not n.endswith(('bias', 'key'))} <= moved


def test_parts_that_no_config_names(data_root, tmp_path):
    """A Feature2Pyramid, and Pascal Context without the background."""
    parts = ('models/upernet-pyramid_vit-base-p16.py', 'datasets/pascal_context_59.py')
    parts += ('schedules/setr_sgd_160k.py', 'segmentation_runtime.py')
    head, prompt = dict(num_classes=59), dict(type='ShallowPrompt', num_tokens=4)
    model = dict(decode_head=head, auxiliary_head=head, backbone=dict(prompt=prompt))
    bases = [str(ROOT / 'configs/_base_' / part) for part in parts]
    config = tmp_path / 'config.py'
    config.write_text(f'_base_ = {bases!r}\nmodel = {model!r}\n')
    runner, _ = train(str(config), data_root, tmp_path / 'run')
    assert type(runner.model.neck).__name__ == 'Feature2Pyramid'
    assert len(runner.train_dataloader.dataset.metainfo['classes']) == 59


def test_recomputing_activations_changes_nothing(data_root, tmp_path):
    ends = []
    for with_cp in (False, True):
        runner, _ = train(
            FACE,
            data_root,
            tmp_path / str(with_cp),
            model__backbone__with_cp=with_cp,
        )
        ends.append(runner.model.state_dict())
    for key, value in ends[0].items():
        torch.testing.assert_close(ends[1][key], value, rtol=0, atol=1e-6)


def test_resumed_run_ends_equal_and_is_tested(data_root, tmp_path, monkeypatch):
    """By the tools: the same end, the same figure, also with flips and scales."""
    config = small(FACE, data_root)
    config.dump(str(tmp_path / 'config.py'))
    path = str(tmp_path / 'config.py')
    whole = train_tool.main([path, '--work-dir', str(tmp_path / 'a')])
    args = [
        '--work-dir',
        str(tmp_path / 'b'),
        '--resume',
        str(tmp_path / 'a/iter_1.pth'),
    ]
    other = train_tool.main([path, *args])
    expected, state = whole.model.state_dict(), other.model.state_dict()
    for key, value in expected.items():
        assert torch.equal(state[key], value), key
    score = whole.message_hub.get_scalar('val/mIoU').current()
    assert other.message_hub.get_scalar('val/mIoU').current() == score

    args = [path, str(tmp_path / 'a/iter_2.pth'), '--work-dir', str(tmp_path / 'c')]
    assert test_tool.main(args)['mIoU'] == score
    assert 0 <= test_tool.main([*args, '--tta'])['mIoU'] <= 100


def segmentation_model(path):
    """Build the model of a config without memory (device meta)."""
    config = load(path)
    with DefaultScope.overwrite_default_scope('mmseg'), torch.device('meta'):
        return MODELS.build(copy.deepcopy(config.model))


def _with_adapters(rest, layers, dims, rank=8, final_norm=0):
    """Return the numbers of tuned parameters with each adapter and ``rest``."""
    operations = 2 * dims + 3 * dims + dims + 4 * dims + dims  # norms, qkv, proj, MLP
    return {
        'lora': rest + layers * 2 * 2 * rank * dims,
        'adapter-plus': rest + layers * (2 * rank * dims + rank + 2 * dims),
        'ssf': rest + 2 * ((1 + final_norm) * dims + layers * operations),
    }


def test_adapters_and_heads_alone_have_gradients(data_root):
    """On ADE20K's miniature; what is frozen is not even asked for."""
    for method in ('lora', 'adapter-plus', 'ssf'):
        config = small('baselines/' + UPERNET.format(method), data_root)
        with DefaultScope.overwrite_default_scope('mmseg'):
            model = revert_sync_batchnorm(MODELS.build(config.model))
        images, maps = torch.randn(2, 3, 32, 32), torch.randint(0, 150, (2, 1, 32, 32))
        samples = [
            SegDataSample(gt_sem_seg=PixelData(data=seg_map), metainfo={})
            for seg_map in maps
        ]
        losses = model(images, samples, mode='loss')
        sum(v for name, v in losses.items() if 'loss' in name).backward()
        with_gradient = {n for n, p in model.named_parameters() if p.grad is not None}
        assert with_gradient == {
            name
            for name, _ in model.named_parameters()
            if '.adapter.' in name or not name.startswith('backbone.')
        }, method


def test_numbers_of_tuned_parameters():
    """Those of the papers: SETR-PUP on ViT-L, 150 classes."""
    heads, prompts = 13_143_640, 24 * 20 * 1024
    plus = 24 * 2 * 1024 + 1024  # biases of keys and values, class token
    expected = dict(frozen=heads, full=317_291_096, davpt=heads + prompts)
    expected.update({'vpt-deep': heads + prompts, 'davpt-plus': heads + prompts + plus})
    expected.update(bias=heads + 271_360, **_with_adapters(heads, 24, 1024))
    for method, number in expected.items():
        (path,) = (p for p in CONFIGS if p.name == SETR.format(method))
        assert count_parameters(segmentation_model(path))[0] == number, method
    # the supervised ViT-B has a final norm, which SSF scales and shifts
    for method, number in _with_adapters(0, 12, 768, rank=8, final_norm=1).items():
        (path,) = (p for p in CONFIGS if p.name == UPERNET.format(method))
        assert count_parameters(segmentation_model(path).backbone)[0] == number, method
    for method, number in _with_adapters(0, 6, 128, rank=4, final_norm=1).items():
        (path,) = (p for p in CONFIGS if p.name == CAMVID.format(method))
        assert count_parameters(segmentation_model(path).backbone)[0] == number, method
    # two auxiliary heads in Gated Prompt Tuning, three elsewhere
    (path,) = (p for p in CONFIGS if p.name == RUNS['SETR-PUP of Gated'][0][9:])
    model = segmentation_model(path)
    assert len(model.auxiliary_head) == 2
    assert model.backbone.out_indices == [4, 8, 11]
    assert count_parameters(model.backbone)[0] == 100 * 768 + 11 + 12


@pytest.mark.parametrize('data', ['ade20k', 'pascal-context'])
def test_full_fine_tuning_decays_no_norm(data):
    """Custom keys of mmengine overrule norm_decay_mult."""
    path = f'baselines/full_upernet-vit-base-p16_{data}.py'
    (path,) = (p for p in CONFIGS if str(p).endswith(path))
    model, config = segmentation_model(path), load(path)
    groups = build_optim_wrapper(model, config.optim_wrapper).optimizer.param_groups
    decays = {id(p): g['weight_decay'] for g in groups for p in g['params']}
    rates = {id(p): g['lr'] for g in groups for p in g['params']}
    for name, part in model.named_modules():
        for parameter in part.parameters(recurse=False):
            rate = 6e-5 if name.startswith('backbone') else 6e-4
            assert rates[id(parameter)] == pytest.approx(rate), name
            norm = isinstance(part, (torch.nn.LayerNorm, torch.nn.BatchNorm2d))
            if norm or isinstance(part, torch.nn.SyncBatchNorm):
                assert decays[id(parameter)] == 0, name


def test_slide_equals_whole_where_one_window_sees_all(data_root):
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(small(FACE, data_root).model).eval()
    images = torch.randn(2, 3, 32, 48)
    meta = [dict(img_shape=(32, 48), ori_shape=(32, 48))] * 2
    with torch.no_grad():
        whole = model.inference(images, meta)
        model.test_cfg.update(mode='slide', crop_size=(32, 48), stride=(32, 48))
        slide = model.inference(images, meta)
    assert whole.shape == (2, 150, 32, 48)
    torch.testing.assert_close(slide, whole)
