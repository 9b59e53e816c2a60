# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The speed benchmark runs, reports, and counts what can be counted exactly."""

import dataclasses
import json
import re

import pytest
import torch

from mmvpt.bench.speed import measure
from mmvpt.bench.speed.full_token import FullTokenViT
from mmvpt.bench.speed.report import page, ratios
from mmvpt.bench.speed.subjects import (
    BARE,
    FULL,
    FULL_TOKEN,
    METHODS,
    Setting,
    Subject,
    differences,
    subject_names,
)
from mmvpt.errors import UserError
from tests.quick import in_turn
from tests.tools.programs import load_tool

tool = load_tool('speed/speed')

TINY = Setting(arch='vit-ti', image_size=64, batch_size=2, num_tokens=3)
OPTIONS = '--arch vit-ti --image-size 64 --batch-size 2 --num-tokens 3 --threads 1'


def test_smoke(tmp_path):
    command = (
        f'{OPTIONS} --measure operations time --repeats 2 --warmup 0 '
        '--methods vpt-deep da-vpt-guided --against full-token bare-timm full'
    )
    result = tool.main([*command.split(), '--out', str(tmp_path / 'speed')])
    assert json.loads((tmp_path / 'speed.json').read_text()) == json.loads(
        json.dumps(result)
    )
    assert {'command', 'date', 'machine', 'load_before', 'load_after'} < set(result)
    train, infer = result['groups']
    assert train['setting'] == dataclasses.asdict(TINY)
    assert infer['setting']['mode'] == 'infer'
    subjects = [row['subject'] for row in train['rows']]
    plain = ['vpt-deep', 'vpt-deep/full-token', 'bare-timm']
    assert subjects == [*plain[:2], 'da-vpt-guided', 'bare-timm', 'full']
    assert [row['subject'] for row in infer['rows']] == plain
    assert set(train['checks']) == set(infer['checks']) == {'vpt-deep'}
    for group in result['groups']:
        for row in group['rows']:
            assert row['operations'] > 0
            assert len(row['seconds']['wall']) == len(row['seconds']['processor']) == 2
            assert ('full-token' in row['ratios']) == (row['subject'] == 'vpt-deep')
    table = (tmp_path / 'speed.md').read_text()
    assert table == page(result)
    for row in train['rows']:
        assert f'\n| {row["subject"]} ' in table
    assert 'operations / full-token' in table and 'wall / vpt-deep' in table


def test_what_has_no_room_is_left_out(tmp_path, monkeypatch):
    build = Subject.__init__

    def full_is_too_large(self, name, *args):
        if name == 'full':
            raise measure.OutOfMemoryError('too large')
        build(self, name, *args)

    monkeypatch.setattr(Subject, '__init__', full_is_too_large)
    command = f'{OPTIONS} --measure time --modes train --repeats 1 --warmup 0'
    command += ' --methods vpt-deep --against full'
    result = tool.main([*command.split(), '--out', str(tmp_path / 'speed')])
    (group,) = result['groups']
    assert group['too_large'] == ['full']
    ours, full = group['rows']
    assert 'seconds' in ours and 'full' in ours['ratios'] and 'seconds' not in full
    table = (tmp_path / 'speed.md').read_text()
    assert re.search(r'\| full +(\| out of memory +){2}\|', table)
    assert 'No memory beside the others: full.' in table


def test_what_autograd_keeps():
    """Nothing before the first prompt; more in the full-token way."""
    kept = {
        name: measure.kept_for_backward(Subject(name, TINY))
        for name in ('vpt-deep', 'vpt-deep/full-token', 'full', 'bare')
    }
    assert kept['bare'] < 1e5 < kept['vpt-deep'] < kept['vpt-deep/full-token']
    assert kept['vpt-deep/full-token'] < kept['full']
    # no part of it is the weights', which do not grow with the batch
    double = Subject('full', dataclasses.replace(TINY, batch_size=4))
    assert measure.kept_for_backward(double) > 1.9 * kept['full']


def test_what_tensors_hold_at_most():
    """Weights, what autograd keeps and little more; with fused attention more."""
    subjects = {n: Subject(n, TINY) for n in ('vpt-deep', 'vpt-deep/fused')}
    for subject in subjects.values():
        subject.run()
    most = {name: measure.most_allocated(subjects[name]) for name in subjects}
    kept = {name: measure.kept_for_backward(subjects[name]) for name in subjects}
    plain = subjects['vpt-deep'].model
    weights = sum(p.numel() * p.element_size() for p in plain.parameters())
    assert kept['vpt-deep'] < most['vpt-deep'] - weights < 4 * kept['vpt-deep']
    assert most['vpt-deep'] == measure.most_allocated(subjects['vpt-deep'])
    assert kept['vpt-deep'] < kept['vpt-deep/fused']
    assert most['vpt-deep'] < most['vpt-deep/fused']


def test_trying_leaves_a_subject_as_it_was():
    subject = Subject('vpt-deep', TINY)
    before = subject.model.backbone.prompt.tokens.clone()
    subject.run(update=False)
    assert torch.equal(subject.model.backbone.prompt.tokens, before)
    assert subject.model.backbone.prompt.tokens.grad is None


def test_subjects():
    names = subject_names('train', list(METHODS), ['full-token', *BARE, *FULL])
    assert set(names) == {*METHODS, *FULL_TOKEN, *BARE, *FULL}
    names = subject_names('infer', list(METHODS), ['full-token', *BARE, *FULL])
    assert set(names) == {*METHODS, *FULL_TOKEN, *BARE} - {'da-vpt-guided'}


def test_methods_in_half_precision_stand_beside_themselves(tmp_path):
    names = subject_names('infer', ['gated'], ['bf16', 'bf16-frozen'])
    assert names == ['gated', 'gated/bf16', 'gated/bf16-frozen']
    subjects, checks, _ = measure.prepare(names, TINY)
    frozen = [s.model.backbone.layers[0].attn.qkv.weight for s in subjects]
    assert [w.dtype for w in frozen] == [torch.float32] * 2 + [torch.bfloat16]
    assert frozen[1].data_ptr() == frozen[0].data_ptr() and not checks
    assert torch.equal(frozen[2], frozen[0].bfloat16())
    plain, cast, kept = (s.model(s.images) for s in subjects)
    assert torch.equal(plain, cast) and not torch.equal(plain, kept)
    for subject in subjects:
        subject.run()
    counts = {measure.count_operations(name, TINY) for name in names}
    assert len(counts) == 1


@pytest.mark.parametrize(
    'options, message',
    [
        ('--reference vapt --methods vpt-deep', 'vapt is not measured'),
        ('--num-tokens 0', 'at least 1'),
    ],
)
def test_refuses(options, message):
    with pytest.raises(UserError, match=message):
        tool.main(options.split())


@pytest.mark.parametrize('method', FULL_TOKEN.values())
def test_full_token_way_is_checked(method):
    ours, plain = Subject(method, TINY), Subject(f'{method}/full-token', TINY)
    assert isinstance(plain.model.backbone, FullTokenViT)
    found = differences(ours, plain)
    gradients = {
        f'gradient of {name}'
        for name, parameter in ours.model.named_parameters()
        if parameter.requires_grad
    }
    assert set(found) == {'output', *gradients}
    assert max(found.values()) < 1e-5
    prompt = plain.model.backbone.vit.prompt
    with torch.no_grad():
        (prompt.tokens if hasattr(prompt, 'tokens') else prompt.factors).neg_()
    with pytest.raises(RuntimeError, match='one of them is wrong'):
        differences(ours, plain)


@pytest.mark.parametrize('name', ['tokens', 'gate_logits', 'temperatures'])
def test_a_wrong_gradient_of_a_prompt_does_not_hide_behind_the_heads(name):
    ours, plain = Subject('gated', TINY), Subject('gated/full-token', TINY)
    parameter = ours.model.backbone.prompt.get_parameter(name)
    parameter.register_hook(lambda grad: 1.01 * grad)
    with pytest.raises(RuntimeError, match=f'1.0e-02 .* gradient of .*prompt.{name}'):
        differences(ours, plain)


def test_frozen_weights_are_shared_and_tuned_ones_are_not():
    first, second, full = measure.prepare(['vpt-deep', 'gated', 'full'], TINY)[0]

    def address(subject, name):
        return subject.model.backbone.get_parameter(name).data_ptr()

    name = 'layers.3.attn.qkv.weight'
    assert address(first, name) == address(second, name) != address(full, name)
    assert address(first, 'prompt.tokens') != address(second, 'prompt.tokens')
    before = first.model.backbone.prompt.tokens.clone()
    first.run()
    assert not torch.equal(first.model.backbone.prompt.tokens, before)


def count(name, **changes):
    setting = dict(arch='vit-s', batch_size=8)
    return measure.count_operations(name, Setting(**{**setting, **changes}))


@pytest.mark.parametrize('mode', ['train', 'infer'])
def test_counted_operations_of_a_plain_layer(mode):
    """Forward by hand for timm's ViT; training takes three times that, but for the
    gradient of the images, which nobody needs."""
    n, c, layers, b, k = 196, 384, 12, 8, 200
    embed = 2 * n * c * 768
    layer = 2 * (n + 1) * 12 * c * c + 4 * (n + 1) ** 2 * c
    forward = b * (embed + layers * layer + 2 * c * k)
    name = 'full-timm' if mode == 'train' else 'bare-timm'
    expected = 3 * forward - b * embed if mode == 'train' else forward
    assert count(name, mode=mode) == expected


@pytest.mark.parametrize('tokens, most', [(10, 0.89), (50, 0.745), (100, 0.63)])
def test_deep_prompts_save_operations(tokens, most):
    ours, plain = (
        count(name, num_tokens=tokens) for name in ('vpt-deep', 'vpt-deep/full-token')
    )
    assert ours / plain <= most


def test_recomputing_takes_operations_of_methods_alone():
    plain, mlp, layer = (count('vpt-deep', with_cp=c) for c in ('none', 'mlp', 'layer'))
    assert 1.10 * plain < mlp < 1.20 * plain < layer < 1.5 * plain
    for name in ('vpt-deep/full-token', 'full'):
        assert count(name, with_cp='mlp') == count(name)


@pytest.mark.parametrize(
    ('method', 'mode'), in_turn(FULL_TOKEN.values(), ('train', 'infer'))
)
def test_no_method_takes_more_operations_than_the_plain_way(method, mode):
    for tokens in (1, 100):
        options = dict(mode=mode, num_tokens=tokens, arch='vit-ti')
        assert count(method, **options) < count(f'{method}/full-token', **options)


def test_memory_of_a_process_of_its_own():
    held = torch.ones(2**26)  # 256 MiB here, which must not count there
    memory = measure.measure_memory('vpt-deep', TINY)
    assert 0 < memory['before'] < memory['peak']
    assert 0 < memory['kept'] < memory['allocated']
    assert memory['peak'] - memory['before'] < held.nbytes


def test_ratios():
    row = dict(
        operations=3,
        seconds=dict(wall=[1.0, 4.0, 9.0]),
        memory=dict(before=100, peak=130, allocated=6),
    )
    other = dict(
        operations=4,
        seconds=dict(wall=[2.0, 4.0, 6.0]),
        memory=dict(before=90, peak=150, allocated=8),
    )
    assert ratios(row, other) == dict(
        operations=0.75,
        wall=dict(median=1.0, least=0.5),
        memory=0.5,
        allocated=0.75,
    )
    # one that had no room has neither
    assert ratios(row, dict(operations=4)) == dict(operations=0.75)
    assert ratios(dict(operations=3), other) == dict(operations=0.75)
