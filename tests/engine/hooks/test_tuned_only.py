# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Tuned-only checkpoints resume, average, and keep the best, as full ones do."""

import copy

import pytest
import torch
from mmengine.model import MMDistributedDataParallel

from mmvpt.apis import publish
from mmvpt.checkpoint import CheckpointError, read_checkpoint
from mmvpt.checkpoint.fingerprint import MARK, FingerprintError
from mmvpt.checkpoint.tuned import frozen_names
from mmvpt.engine.hooks import AtomicCheckpointHook
from mmvpt.errors import UserError
from mmvpt.weights.families import FAMILIES
from tests.apis.tuned_runs import PROMPTS, classifier, segmentor, train
from tests.quick import swept

FROZEN = ('qkv.weight', 'pos_embed', 'projection.weight', 'ffn.layers.1.weight')


def averaged(root, method, family='vit', **changes):
    """Run two epochs with averaged weights; return root, config and runner."""
    arch = None
    if family != 'vit':
        arch = dict(embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=64)
        arch['family'] = family
    if not FAMILIES[family].with_cls_token and method == 'davpt-plus':
        biases = [f'layers.*.attn.qkv.bias.{part}' for part in ('key', 'value')]
        changes['model__backbone__tunable'] = biases
    config = classifier(
        root,
        method,
        arch=arch,
        train_cfg__max_epochs=2,
        default_hooks__checkpoint__save_best='auto',
        **changes,
    )
    config.custom_hooks += [dict(type='EMAHook')]
    return root, config, train(copy.deepcopy(config))


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return averaged(tmp_path_factory.mktemp('tuned-only'), 'davpt-plus')


@pytest.fixture(params=swept(PROMPTS, 'davpt-plus', 'e2vpt', 'bpt'))
def any_run(request, tmp_path):
    """The run of each method."""
    if request.param == 'davpt-plus':
        return request.getfixturevalue('run')
    return averaged(tmp_path, request.param)


def test_every_file_is_without_frozen_weights(run):
    root, _, runner = run
    files = sorted(path.name for path in (root / 'run').glob('*.pth'))
    assert len(files) == 3 and files[0].startswith('best_accuracy')
    frozen = frozen_names(runner.model)
    assert {name.split('.', 1)[1] for name in frozen} > {'ln1.weight', 'ln1.bias'}
    for name in files:
        content = read_checkpoint(root / 'run' / name)
        averaged = content['ema_state_dict']
        for state, prefix in ((content['state_dict'], ''), (averaged, 'module.')):
            names = {key.removeprefix(prefix) for key in state}
            assert not names & frozen
            left = {n for n in runner.model.state_dict() if n not in frozen}
            assert names - {'steps'} == left | {f'backbone.{MARK}'}


def test_resumed_run_ends_where_the_other_does(any_run):
    root, config, runner = any_run
    resumed = copy.deepcopy(config)
    resumed.work_dir = str(root / 'resumed')
    again = train(resumed, resume=root / 'run/epoch_1.pth')
    ends = [read_checkpoint(root / w / 'epoch_2.pth') for w in ('run', 'resumed')]
    for part in ('state_dict', 'ema_state_dict'):
        assert ends[0][part].keys() == ends[1][part].keys()
        for name, value in ends[0][part].items():
            assert torch.equal(value, ends[1][part][name]), name
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


@pytest.mark.parametrize(
    ('family', 'method'),
    [
        pytest.param(
            family, method, marks=() if family == 'dinov3' else pytest.mark.sweep
        )
        for family in FAMILIES
        if family != 'vit'
        for method in (['vapt'] if family == 'dinov3' else ['davpt-plus', 'vapt'])
    ],
)
def test_families_resume_and_average(family, method, tmp_path):
    run = averaged(tmp_path, method, family)
    assert run[2].model.backbone.family == family
    test_every_file_is_without_frozen_weights(run)
    test_resumed_run_ends_where_the_other_does(run)


def test_half_precision_resumes_averages_and_is_told_from_float32(tmp_path):
    """Frozen weights in bfloat16, of a file in float32."""
    from mmengine.registry import MODELS

    import mmvpt

    half = 'model__backbone__frozen_dtype'
    run = averaged(tmp_path, 'davpt-plus', **{half: 'bfloat16'})
    test_every_file_is_without_frozen_weights(run)
    test_resumed_run_ends_where_the_other_does(run)
    _, config, runner = run
    weights = runner.model.backbone.layers[0].attn.qkv.weight
    given = torch.load(tmp_path / 'vit.pth', weights_only=True)
    assert torch.equal(weights, given['layers.0.attn.qkv.weight'].bfloat16())
    state = runner.optim_wrapper.state_dict()['state']
    assert all(s['momentum_buffer'].dtype == torch.float32 for s in state.values())

    files = [
        tmp_path / 'run/epoch_2.pth',
        publish(tmp_path / 'run/epoch_2.pth', tmp_path),
    ]
    loaded = [mmvpt.load(file).model for file in files]
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(*(model(images) for model in loaded))
    other = copy.deepcopy(config)
    other.model.backbone.frozen_dtype = None
    other.work_dir = str(tmp_path / 'float32')
    runner = train(other)
    kept = read_checkpoint(files[0])['state_dict']
    with pytest.raises(FingerprintError, match='in bfloat16 .*in float32. Set .*bfloa'):
        runner.model.load_state_dict(kept, strict=False)
    plain = read_checkpoint(tmp_path / 'float32/epoch_2.pth')['state_dict']
    with pytest.raises(FingerprintError, match='in float32, and .* Set .*dtype=None'):
        MODELS.build(config.model).load_state_dict(plain, strict=False)
    with pytest.raises(UserError, match='frozen_dtype'):
        train(other, resume=tmp_path / 'run/epoch_1.pth')


def test_a_full_run_writes_the_same_weights(run):
    root, config, _ = run
    full = copy.deepcopy(config)
    full.work_dir = str(root / 'full')
    full.default_hooks.checkpoint.tuned_only = False
    train(full)
    small = read_checkpoint(root / 'run/epoch_2.pth')
    large = read_checkpoint(root / 'full/epoch_2.pth')
    for part in ('state_dict', 'ema_state_dict'):
        small[part] = {n: v for n, v in small[part].items() if MARK not in n}
        assert small[part].keys() < large[part].keys()
        for name, value in small[part].items():
            assert torch.equal(value, large[part][name]), name


def test_any_loader_completes_or_refuses(run):
    """``load_state_dict`` of a new model, without any hook of ours."""
    from mmengine.registry import MODELS

    root, config, runner = run
    state = read_checkpoint(root / 'run/epoch_2.pth')['state_dict']
    model = MODELS.build(config.model)
    assert not torch.equal(model.backbone.pos_embed, runner.model.backbone.pos_embed)
    missing = model.load_state_dict(state, strict=False)
    assert not missing.missing_keys and not missing.unexpected_keys
    assert torch.equal(model.backbone.pos_embed, runner.model.backbone.pos_embed)
    with torch.no_grad():
        model.backbone.layers[1].ln1.weight[3] += 1e-6
    with pytest.raises(FingerprintError, match='1 of 29 frozen tensors differ'):
        model.load_state_dict(state, strict=False)


def test_names_are_those_of_the_model_inside_a_wrapper(run, tmp_path, monkeypatch):
    """As in a distributed run, with a group of one process."""
    root, config, _ = run
    monkeypatch.setenv('LOCAL_RANK', '0')
    store = torch.distributed.FileStore(str(tmp_path / 'store'), 1)
    torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    try:
        wrapped = copy.deepcopy(config)
        wrapped.work_dir = str(tmp_path / 'wrapped')
        wrapped.launcher = 'pytorch'
        wrapped.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False
        )
        runner = train(wrapped)
    finally:
        torch.distributed.destroy_process_group()
    assert isinstance(runner.model, MMDistributedDataParallel)
    one = read_checkpoint(root / 'run/epoch_2.pth')['state_dict']
    other = read_checkpoint(tmp_path / 'wrapped/epoch_2.pth')['state_dict']
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_frozen_weights_that_no_file_has_are_not_left_out(tmp_path):
    config = classifier(tmp_path)
    config.model.backbone.init_cfg = None
    with pytest.raises(ValueError, match='init_cfg names no checkpoint'):
        train(config)


def test_segmentation_keeps_heads_and_their_statistics(tmp_path):
    runner = train(segmentor(tmp_path, 'davpt-plus'))
    state = read_checkpoint(tmp_path / 'run/iter_2.pth')['state_dict']
    heads = [n for n in runner.model.state_dict() if n.startswith('decode_head.')]
    assert set(heads) < set(state) and 'decode_head.convs.0.bn.running_var' in heads
    assert not any(name.endswith(FROZEN) for name in state)


def test_unknown_arguments_are_refused():
    with pytest.raises(UserError, match="no option 'tuned_onyl'"):
        AtomicCheckpointHook(tuned_onyl=True)


def test_a_release_is_no_checkpoint_to_resume_from(run, tmp_path):
    root, config, _ = run
    release = publish(root / 'run/epoch_2.pth', tmp_path)
    again = copy.deepcopy(config)
    again.work_dir = str(tmp_path / 'again')
    again.custom_hooks = [dict(type='mmvpt.CompleteWeightsHook')]
    with pytest.raises(CheckpointError, match='nothing to resume in this checkpoint'):
        train(again, resume=release)


def test_training_starts_from_a_release(run, tmp_path):
    root, config, _ = run
    again = copy.deepcopy(config)
    again.work_dir = str(tmp_path / 'again')
    again.load_from = str(publish(root / 'run/epoch_2.pth', tmp_path))
    again.optim_wrapper.optimizer.lr = 0.0
    again.optim_wrapper.optimizer.weight_decay = 0.0
    model = train(again).model
    released = read_checkpoint(again.load_from)['state_dict']
    tokens = 'backbone.prompt.tokens'
    assert torch.equal(model.state_dict()[tokens], released[tokens])
