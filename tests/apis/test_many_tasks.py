# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Many tasks on one frozen backbone."""

import copy

import pytest
import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample

from mmvpt.apis import many_tasks
from mmvpt.apis.many_tasks import TaskBank, backbone_of, model_of
from mmvpt.engine.hooks import MetricGuidanceHook
from mmvpt.errors import UserError
from mmvpt.models.vit import PromptedVisionTransformer

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=64)
METHODS = {
    'deep': dict(prompt=dict(type='DeepPrompt', num_tokens=3)),
    'longer': dict(prompt=dict(type='DeepPrompt', num_tokens=5)),
    'linear': dict(prompt=None),
    'gated': dict(prompt=dict(type='GatedPrompt', num_tokens=3)),
    'adaptive': dict(prompt=dict(type='AdaptivePrompt', num_tokens=3)),
    'davpt+': dict(
        prompt=dict(type='DistributionAwarePrompt', num_classes=6, mapping='auto'),
        tunable='davpt+',
    ),
    'e2vpt': dict(prompt=dict(type='KeyValuePrompt', num_tokens=2, num_key_values=2)),
    'cvpt': dict(prompt=dict(type='CrossPrompt', num_tokens=2)),
    'rein': dict(
        prompt=dict(type='RefiningPrompt', num_tokens=4, rank=2), pooling='patches'
    ),
    'sa2vp': dict(prompt=dict(type='SpatialPrompt', rank=2)),
    'vfpt': dict(prompt=dict(type='FourierPrompt', num_tokens=3, depth='shallow')),
    'bpt': dict(
        prompt=dict(
            type='BilinearPrompt', num_tokens=3, rank=4, depth='deep', tuned_bases=1
        )
    ),
    'provpt': dict(prompt=dict(type='RelocatedPrompt', num_tokens=2)),
    'spt': dict(prompt=dict(type='SelfPrompt', num_tokens=3)),
    'vipamin': dict(prompt=dict(type='VipaminPrompt', num_tokens=3, depth='deep')),
    'pae': dict(
        prompt=dict(
            type='EvolvingPrompt', num_tokens=3, koopman_weight=0, lyapunov_weight=0
        )
    ),
    'fresh norm': dict(prompt=None, final_norm='fresh-trained', pooling='patches'),
}


def classifier(num_classes=4, seed=0, **backbone):
    """Build a classifier whose frozen weights depend on nothing but the arch."""
    torch.manual_seed(0)
    options = {**dict(arch=ARCH, img_size=16, patch_size=4), **backbone}
    model = ImageClassifier(
        backbone=dict(type='mmvpt.PromptedVisionTransformer', **options),
        head=dict(type='LinearClsHead', num_classes=num_classes, in_channels=16),
        data_preprocessor=dict(num_classes=num_classes, mean=[127.0], std=[50.0]),
    )
    for number, (name, parameter) in enumerate(model.named_parameters()):
        frozen = not parameter.requires_grad
        key = name if frozen else f'{number} {seed}'
        generator = torch.Generator().manual_seed(sum(map(ord, key)))
        noise = torch.randn(parameter.shape, generator=generator)
        value = 0.2 * noise + (name.endswith('weight') and noise.dim() == 1)
        parameter.data = value.to(parameter.dtype)
    return model.eval()


@pytest.fixture
def models():
    return {
        name: classifier(3 + k, seed=k, **options)
        for k, (name, options) in enumerate(METHODS.items())
    }


@pytest.fixture
def bank(models):
    bank = TaskBank()
    for name, model in models.items():
        bank.add(name, copy.deepcopy(model))
    return bank


def test_mixed_batch_equals_separate_models(bank, models):
    tasks = [*models, 'deep', 'adaptive'][::-1]
    images = torch.randn(len(tasks), 3, 16, 16)
    outputs = bank(images, tasks)
    for image, task, output in zip(images, tasks, outputs):
        with torch.no_grad():
            expected = models[task](image[None])[0]
        assert output.shape == (model_of(models[task]).head.num_classes,)
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)


def gradients(model):
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize('mode', [True, False])
def test_losses_together_equal_those_of_each_alone(bank, models, mode, monkeypatch):
    parts = {}
    every = [*models.values(), *(bank[name] for name in models)]
    for module in (module for model in every for module in model.modules()):
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # draws come in another order
    for k, (name, model) in enumerate(models.items()):
        model.double().train(mode)
        count = 1 + k % 3
        labels = [DataSample().set_gt_label(i % 3) for i in range(count)]
        images = torch.randn(count, 3, 16, 16, dtype=torch.float64)
        parts[name] = dict(inputs=images, data_samples=labels)
        bank[name].double().train(mode)
    with monkeypatch.context() as patch:
        patch.delattr(PromptedVisionTransformer, 'forward')  # none runs by itself
        together = {name: sum(x.values()) for name, x in bank.losses(parts).items()}
    sum(together.values()).backward()
    for name, model in models.items():
        loss = sum(model(**parts[name], mode='loss').values())
        loss.backward()
        torch.testing.assert_close(together[name], loss, msg=name)
        found, expected = gradients(bank[name]), gradients(model)
        assert found.keys() == expected.keys() and expected
        for key, grad in expected.items():
            torch.testing.assert_close(found[key], grad, rtol=1e-9, atol=1e-12)


def test_what_cannot_train_together(bank):
    part = dict(inputs=torch.zeros(1, 3, 16, 16))
    part['data_samples'] = [DataSample().set_gt_label(0)]
    bank['deep'].train()
    with pytest.raises(ValueError, match='call train'):
        bank.losses(dict(deep=part, longer=part))
    bank['davpt+'].train()
    hook = MetricGuidanceHook()
    hook.attach(bank['davpt+'], backbone_of(bank['davpt+']))
    with pytest.raises(ValueError, match='metric guidance reads the layers of one'):
        bank.losses({'deep': part, 'davpt+': part})
    hook.detach()
    assert len(bank.losses({'deep': part, 'davpt+': part})) == 2


def test_a_task_by_name_is_the_model_itself(bank, models):
    images = torch.randn(2, 3, 16, 16)
    for name in (*models, *reversed(models)):
        with torch.no_grad():
            assert torch.equal(bank[name](images), models[name](images))
    assert list(bank) == list(models) and len(bank) == len(models)


def test_frozen_weights_are_one_copy(bank, models):
    frozen = [
        dict(backbone_of(task).named_parameters())
        for task in map(bank.__getitem__, bank)
    ]
    for key in ('patch_embed.projection.weight', 'layers.1.attn.qkv.weight'):
        assert len({id(parameters[key]) for parameters in frozen}) == 1, key
    assert len({id(parameters['ln1.weight']) for parameters in frozen}) == 2
    assert len({id(parameters['cls_token']) for parameters in frozen}) == 2
    # Changing the bank's copy reaches all, so they do not only look alike.
    tuned = sum(
        p.numel() * p.element_size()
        for task in map(bank.__getitem__, bank)
        for p in (*task.parameters(), *task.buffers())
        if p.requires_grad or not isinstance(p, torch.nn.Parameter)
    )
    once = sum(p.numel() * 4 for p in frozen[0].values() if not p.requires_grad)
    assert bank.num_bytes() == tuned + once


def test_twenty_tasks_of_vit_b_take_little_more_than_one(monkeypatch):
    """Prompts of every count from 10 to 50, heads of 10 to 200 classes, on ``meta``."""
    monkeypatch.setattr(many_tasks, '_equal', lambda a, b: a.shape == b.shape)
    bank, classes = TaskBank(), [10, 37, 47, 100, 102, 120, 196, 200, 20, 5]
    with torch.device('meta'):
        for k in range(20):
            prompt = dict(type='DeepPrompt', num_tokens=10 + 40 * k // 19)
            model = ImageClassifier(
                backbone=dict(
                    type='mmvpt.PromptedVisionTransformer', arch='vit-b', prompt=prompt
                ),
                head=dict(
                    type='LinearClsHead', num_classes=classes[k % 10], in_channels=768
                ),
            )
            bank.add(f'task {k}', model)
            if k == 0:
                first = bank.num_bytes()
        bank(torch.zeros(20, 3, 32, 32), list(bank))
    kept = sum(backbone_of(bank[n]).static_prompts.num_bytes > 0 for n in bank)
    assert kept == bank.keep
    assert 340e6 < first and bank.num_bytes() < 1.15 * first


def test_moving_keeps_them_shared(bank):
    bank.to('cpu')
    assert bank.device == torch.device('cpu')
    weights = {id(backbone_of(bank[n]).layers[0].attn.qkv.weight) for n in bank}
    assert len(weights) == 1


def test_keys_and_values_of_few_tasks_are_kept(models):
    bank = TaskBank(keep=1)
    for name in ('deep', 'longer'):
        bank.add(name, models[name])
    sizes = {}
    for name in ('deep', 'longer', 'longer', 'deep'):
        bank(torch.randn(1, 3, 16, 16), [name])
        sizes[name] = [backbone_of(bank[n]).static_prompts.num_bytes for n in bank]
    assert sizes['deep'][0] > 0 and sizes['deep'][1] == 0
    assert sizes['longer'][0] == 0 and sizes['longer'][1] > 0
    with pytest.raises(ValueError, match='at least 0, got -1'):
        TaskBank(keep=-1)


def test_an_error_in_a_head_leaves_the_backbone_as_it_was(bank, models, monkeypatch):
    images = torch.randn(1, 3, 16, 16)

    def fail(*args):
        raise RuntimeError('head')

    monkeypatch.setattr(bank['deep'].head, 'forward', fail)
    with pytest.raises(RuntimeError, match='head'):
        bank(images, ['deep'])
    monkeypatch.undo()
    assert 'forward' not in vars(backbone_of(bank['deep']))


def other_weights():
    model = classifier(prompt=None)
    model.backbone.layers[1].ffn.layers[1].bias.data += 1e-7
    return model


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        (other_weights, r'layers.1.ffn.layers.1.bias of task .new. is not that of .d'),
        (lambda: classifier(norm_cfg=dict(type='LN', eps=0.1)), 'eps=0.1'),
        (lambda: torch.nn.Linear(2, 2), 'has 0'),
    ],
)
def test_what_does_not_fit_is_refused(bank, model, message):
    before = list(bank)
    with pytest.raises(ValueError, match=message):
        bank.add('new', model())
    assert list(bank) == before


def test_names(bank):
    with pytest.raises(KeyError, match="no task 'cats'; there are: deep, longer"):
        bank(torch.zeros(1, 3, 16, 16), ['cats'])
    with pytest.raises(ValueError, match="a task 'deep' already"):
        bank.add('deep', classifier())
    with pytest.raises(ValueError, match="task 'three' must be a file.*got int"):
        bank.add('three', 3)
    with pytest.raises(ValueError, match='1 images, but 2 tasks'):
        bank(torch.zeros(1, 3, 16, 16), ['deep', 'deep'])
    with pytest.raises(ValueError, match='without a test pipeline'):
        bank.predict([torch.zeros(4, 4, 3).byte().numpy()], 'deep')
    bank.remove('deep')
    assert 'deep' not in bank
    bank.add('deep', classifier())
    assert many_tasks.backbone_of(bank['deep']) is bank['deep'].backbone


def test_frozen_weights_in_half_precision():
    half = dict(frozen_dtype='bfloat16')
    bank = TaskBank()
    models = {
        k: classifier(seed=n, **METHODS[k], **half) for n, k in enumerate(METHODS)
    }
    sizes = []
    for name, model in models.items():
        bank.add(name, copy.deepcopy(model))
        sizes.append(bank.num_bytes())
    assert max(b - a for a, b in zip(sizes, sizes[1:])) < sizes[0]
    images = torch.randn(len(models), 3, 16, 16)
    for image, name, output in zip(images, models, bank(images, list(models))):
        with torch.no_grad():
            expected = models[name](image[None])[0]
        scale = float(expected.abs().max())
        torch.testing.assert_close(output, expected, rtol=0, atol=0.03 * scale)
    with pytest.raises(UserError, match='frozen weights in torch.float32, the bank in'):
        bank.add('other', classifier(**METHODS['deep']))
