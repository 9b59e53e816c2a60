# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What MetricGuidanceHook does to a model and inside a runner."""

import math
from functools import partial

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmvpt.engine.guidance import labels
from mmvpt.engine.hooks import MetricGuidanceHook
from tests.engine.guided_runs import build, config, witness
from tests.models.guided_model import Model, random_backbone, samples


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_nothing_in_eval_mode_or_other_modes():
    vit = random_backbone(True)
    hook, model = MetricGuidanceHook(), Model(vit)
    hook.attach(model, vit)
    images = torch.randn(2, 3, 32, 32)
    assert list(model.eval()(images, samples([0, 1]), mode='loss')) == ['loss']
    assert isinstance(
        model.train()(images, samples([0, 1]), mode='tensor'), type(images)
    )
    assert 'loss_metric_cls' in model(images, samples([0, 1]), mode='loss')
    assert 'loss_metric_cls' in model(images, samples([0, 1]), 'loss')  # by place
    hook.detach()
    assert vit.guide.reads == () and not model._forward_hooks
    assert not model._forward_pre_hooks and not vit.guide._forward_hooks
    assert list(model(images, samples([0, 1]), mode='loss')) == ['loss']


def test_images_without_a_class_do_not_count():
    vit = random_backbone(True)
    images = torch.randn(3, 3, 32, 32)
    maps = torch.full((3, 1, 4, 4), 255)
    maps[0, 0, 0, 0], maps[2] = 1, 3
    hook, model = MetricGuidanceHook(), Model(vit).train()
    hook.attach(model, vit)

    def losses(kept):
        data = [DataSample() for _ in kept]
        for sample, i in zip(data, kept):
            sample.set_field(PixelData(data=maps[i]), 'gt_sem_seg', dtype=None)
        return model(images[kept], data, mode='loss')

    whole, part = losses([0, 1, 2]), losses([0, 2])
    for name in ('loss_metric_visual', 'loss_metric_cls'):
        torch.testing.assert_close(whole[name], part[name])
    assert losses([1])['loss_metric_cls'].item() == 0


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(visual_weight=0, cls_weight=0), 'nor both 0'),
        (dict(visual_weight=-1), 'must not be negative'),
        (dict(visual='raw'), r"visual must be one of .*; got 'raw'"),
        (dict(prompt_for_visual='cls'), "prompt_for_visual must be .*; got 'cls'"),
        (dict(cls='patch'), "cls must be one of .*; got 'patch'"),
        (dict(prompt_for_cls='vpt'), "prompt_for_cls must be one of .*; got 'vpt'"),
    ],
)
def test_refused_options(options, message):
    with pytest.raises(ValueError, match=message):
        MetricGuidanceHook(**options)


def states(runner):
    """Return what training changed."""
    return {
        n: p.detach() for n, p in runner.model.named_parameters() if p.requires_grad
    }


def test_losses_are_logged_and_trained(tmp_path):
    runner = build(tmp_path)
    runner.train()
    for losses in witness(runner).losses:
        assert set(losses) == {
            'loss',
            'loss_cls',
            'loss_metric_visual',
            'loss_metric_cls',
        }
        assert losses['loss'] == pytest.approx(sum(losses.values()) - losses['loss'])
    backbone = runner.model.backbone
    assert backbone.guide.reads == () and not runner.model._forward_hooks


class Half(nn.Module):
    """A loss that gives a fixed number."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x, proxies, targets):
        return self.value * (1 + 0 * x.sum())


CHANGES = {
    'the whole backbone again in backward': dict(),
    'with_cp': dict(model__backbone__with_cp=True),
    'compile': dict(compile=dict(backend='eager')),
}


@pytest.fixture(scope='module')
def plain_run(tmp_path_factory):
    torch.set_default_dtype(torch.float64)
    runner = build(tmp_path_factory.mktemp('plain'), train_cfg__max_epochs=2)
    runner.train()
    return states(runner), witness(runner)


@pytest.mark.parametrize('how', CHANGES)
def test_same_numbers_however_the_model_runs(plain_run, tmp_path, how):
    runner = build(tmp_path, train_cfg__max_epochs=2, **CHANGES[how])
    hook = next(h for h in runner.hooks if isinstance(h, MetricGuidanceHook))
    kept = []
    hook.after_train_iter = lambda *_, **__: kept.append(hook._records)
    if how == 'the whole backbone again in backward':
        backbone = runner.model.backbone
        backbone.forward = partial(checkpoint, backbone.forward, use_reentrant=False)
    runner.train()
    assert kept == [None] * 12  # nothing of what backward ran again
    for name, value in states(runner).items():
        torch.testing.assert_close(value, plain_run[0][name], rtol=1e-9, atol=1e-11)
    assert witness(runner).maps == plain_run[1].maps
    for losses, expected in zip(witness(runner).losses, plain_run[1].losses):
        assert losses == pytest.approx(expected, rel=1e-9)


def test_accumulation_adds_gradients_of_both_batches(tmp_path):
    """One update from two batches is the mean of theirs."""

    def updates(name, accumulative_counts, lr, **changes):
        runner = build(
            tmp_path / name,
            custom_hooks=config(tmp_path).custom_hooks[:1],
            model__backbone__prompt__mapping='balanced',
            train_dataloader__sampler__shuffle=False,
            optim_wrapper__accumulative_counts=accumulative_counts,
            optim_wrapper__optimizer__lr=lr,
            train_cfg__max_epochs=1,
            val_dataloader=None,
            val_cfg=None,
            val_evaluator=None,
            **changes,
        )
        names = [name for name in states(runner) if name.startswith('backbone')]
        before = {k: v.clone() for k, v in states(runner).items()}
        runner.train()  # initialises the head anew
        after = states(runner)
        return {name: (after[name] - before[name]) / lr for name in names}

    # So small a step that both batches see the same weights, in one update or two.
    both = updates('both', 2, 1e-6, train_dataloader__dataset__size=12)
    apart = updates('apart', 1, 1e-6, train_dataloader__dataset__size=12)
    top = max(float(value.abs().max()) for value in both.values())
    for name, value in both.items():
        torch.testing.assert_close(value, apart[name] / 2, rtol=1e-3, atol=1e-6 * top)


def test_float32_under_autocast(tmp_path):
    torch.set_default_dtype(torch.float32)
    seen = []

    class Look(nn.Module):
        def forward(self, x, proxies, targets):
            seen.append((x.dtype, proxies.dtype, (x @ proxies.mT).dtype))
            return x.sum() * 0 + 1

    runner = build(
        tmp_path,
        train_cfg__max_epochs=1,
        optim_wrapper__type='mmvpt.AutocastOptimWrapper',
    )
    hook = next(h for h in runner.hooks if isinstance(h, MetricGuidanceHook))
    attach = hook.attach
    hook.attach = lambda *args: (attach(*args), setattr(hook, '_loss', Look()))
    runner.train()
    assert seen and set(seen) == {(torch.float32,) * 3}


@pytest.mark.parametrize(
    ('changes', 'error', 'message'),
    [
        (
            dict(
                model__backbone__prompt=dict(
                    _delete_=True, type='DeepPrompt', num_tokens=2
                )
            ),
            ValueError,
            'needs one backbone with a DistributionAwarePrompt, but the model has 0',
        ),
        (
            dict(model__backbone__prompt__guided_layers=()),
            ValueError,
            'needs guided layers, but the prompt has none',
        ),
        (
            dict(model__backbone__prompt__num_guided_tokens=0),
            ValueError,
            'needs guided layers, but the prompt has none',
        ),
        (
            dict(train_dataloader__dataset__num_classes=10),
            ValueError,
            'data has 10 classes, but the prompt has num_classes=9',
        ),
        (
            dict(custom_hooks=[dict(type='mmvpt.MetricGuidanceHook')]),
            ValueError,
            'some classes have no prompt yet. Add dict.type=.mmvpt.SemanticMapping',
        ),
        (
            dict(
                custom_hooks=[dict(type='mmvpt.MetricGuidanceHook')],
                model__backbone__prompt__mapping='balanced',
                train_dataloader__dataset__labelled=False,
            ),
            ValueError,
            'the training samples have no labels',
        ),
        (
            dict(
                custom_hooks=[
                    dict(
                        type='mmvpt.MetricGuidanceHook',
                        loss=dict(type='mmengine.Half', value=math.nan),
                    )
                ],
                model__backbone__prompt__mapping='balanced',
            ),
            FloatingPointError,
            'loss_metric_visual is nan in iteration 1',
        ),
        (
            dict(
                custom_hooks=[
                    dict(
                        type='mmvpt.MetricGuidanceHook',
                        loss=dict(
                            type='mmengine.Linear', in_features=1, out_features=1
                        ),
                    )
                ],
                model__backbone__prompt__mapping='balanced',
            ),
            ValueError,
            'Linear has parameters, but no optimizer knows them',
        ),
        (
            # A config of old that adds hooks to one that has them by now.
            dict(
                default_hooks__metric_guidance=dict(type='mmvpt.MetricGuidanceHook'),
                model__backbone__prompt__mapping='balanced',
            ),
            ValueError,
            'more than one MetricGuidanceHook. Configs of DA-VPT have theirs in',
        ),
        (
            # Reentrant, so the forward pass leaves no graph.
            dict(activation_checkpointing=['backbone']),
            ValueError,
            'no gradient.*with_cp=True',
        ),
        (
            dict(
                model__backbone__with_cls_token=False,
                model__backbone__out_type='avg_featmap',
                model__backbone__tunable='none',
            ),
            ValueError,
            'no CLS token; set cls_weight=0',
        ),
    ],
)
def test_errors_at_the_start(tmp_path, changes, error, message):
    MODELS.register_module(name='Half', module=Half, force=True)
    MODELS.register_module(name='Linear', module=nn.Linear, force=True)
    with pytest.raises(error, match=message):
        build(tmp_path, **changes).train()


def test_labels_are_read_and_checked_once(tmp_path, monkeypatch):
    """Losses and map see one tensor of each batch, and one look before it."""
    seen = []
    image_classes = labels.image_classes

    class Count(Hook):
        """Counts from the first epoch on, after the pass for the first map."""

        def before_train_epoch(self, runner):
            def counting(samples, *options):
                seen.append(samples)
                return image_classes(samples, *options)

            monkeypatch.setattr(labels, 'image_classes', counting)

    runner = build(tmp_path, train_cfg__max_epochs=1)
    runner.register_hook(Count())
    runner.train()
    # The batch as it was loaded, and the one that the model got.
    assert len(seen) == 2 * runner.max_iters
    assert len({id(samples) for samples in seen}) == len(seen)
