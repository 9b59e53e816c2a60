# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A config with mistakes is refused before anything is built, all of them at once."""

import re
from contextlib import nullcontext

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry
from torch import nn
from torch.utils.data import DataLoader

from mmvpt.engine import check_rules, checks
from mmvpt.engine.check_rules import RULES
from mmvpt.engine.checks import check
from mmvpt.errors import UserError
from tests.engine.miniature import config

THINGS = Registry('thing', scope='mmengine', locations=[])


@THINGS.register_module()
class Parent:
    def __init__(self, size, *, color='red', share: float = 0.1):
        self.size = size


@THINGS.register_module()
class Child(Parent):
    def __init__(self, depth=1, **kwargs):
        self.name = kwargs.pop('name', None)
        super().__init__(**kwargs)


@THINGS.register_module()
class Open:
    def __init__(self, depth=1, **kwargs):
        self.rest = dict(**kwargs)


def problems(**thing):
    with DefaultScope.overwrite_default_scope('mmengine'):
        return [text for _, text in checks._check(thing, 'thing', THINGS)]


def test_keys_reach_the_bases_through_kwargs():
    assert problems(type='Child', size=1, color='blue', name='a') == []
    assert problems(type='Open', anything=1) == []
    assert problems(type='Child', size=1, colour='blue') == [
        "Child has no option 'colour' (value 'blue' in the config). "
        "Did you mean 'color'?"
    ]


def test_options_are_listed_when_none_is_similar():
    (text,) = problems(type='Child', size=1, zzz=3)
    assert text.endswith('Options: depth, name, size, color, share.')


def test_a_class_in_the_place_of_its_name():
    (text,) = problems(type=Parent, size=1, shap=3)
    assert "'shap'" in text


@pytest.mark.parametrize(
    ('value', 'words'),
    [
        ('1e-3', 'a number: write 0.001 without quotes .in YAML 1.0e-3'),
        ('much', "a number, got 'much'"),
        (None, 'a number, got None'),
        (True, 'a number, got True'),
    ],
)
def test_values_that_are_no_numbers(value, words):
    with pytest.raises(AssertionError, match=words):
        assert problems(type='Parent', size=1, share=value) == []
    assert problems(type='Parent', size=1, share=1) == []


def test_unknown_types_and_scopes():
    (text,) = problems(type='Chil', size=1)
    assert "'Chil' is no known thing. Did you mean 'Child'?" in text
    with DefaultScope.overwrite_default_scope('mmabsent'):
        ((_, text),) = checks._check(dict(type='Chill'), 'thing', THINGS)
    assert "default_scope='mmabsent', but mmabsent is not installed" in text


def test_the_miniature_is_in_order():
    check(config('nowhere'))
    hook = dict(type='mmvpt.SemanticMappingHook', pipeline='train')
    check(config('nowhere', custom_hooks=[hook]))


def test_all_mistakes_are_told_at_once():
    wrong = config(
        'nowhere',
        model__head__num_clases=3,
        optim_wrapper__optimizer__lr='1e-3',
        default_hooks__checkpoint__type='AtomicCheckpoint',
    )
    with pytest.raises(UserError, match='3 mistakes') as error:
        check(wrong)
    text = str(error.value)
    for place in (
        'model.head.num_clases',
        'optim_wrapper.optimizer.lr',
        'default_hooks.checkpoint.type',
    ):
        assert f'. {place}: ' in text, text


SCHEDULE = dict(type='CosineAnnealingLR', T_max=2, convert_to_iter_based=True)
SEG_TEST = dict(mode='slide', crop_size=(32, 32))
MIX = dict(augments=dict(type='Mixup', alpha=0.8))
ZERO = dict(type='LinearLR', end_factor=0.0, end=1)
EMA = dict(type='EMAHook', momentum='1e-3')
SMOOTH = dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=7)
LOAD = dict(type='LoadImageFromFile')
#: Changes of the miniature's config, and what the message says about place and remedy.
MISTAKES = {
    'scheduler that counts iterations': (
        dict(param_scheduler=dict(SCHEDULE, T_maxx=5)),
        "param_scheduler.T_maxx: CosineAnnealingLR .*'T_max'",
    ),
    'one of several schedulers': (
        dict(param_scheduler=[SCHEDULE, dict(type='LinearLR', start_fator=0.1)]),
        "param_scheduler.1.start_fator: LinearLR .*'start_factor'",
    ),
    'nested transform': (
        dict(
            train_dataloader__dataset__pipeline=[
                dict(type='RandomApply', transforms=[dict(type='Resize', scal=3)])
            ]
        ),
        r"pipeline\.0\.transforms\.0\.scal: Resize .*'scale'",
    ),
    'transform without type': (
        dict(train_dataloader__dataset__pipeline=[dict(scale=3)]),
        r"pipeline\.0: a config of transform has no key 'type'; it has scale",
    ),
    'batch_size': (
        dict(train_dataloader__batch_size=0),
        'train_dataloader.batch_size: must be an integer of at least 1, got 0',
    ),
    'val_interval': (
        dict(train_cfg__val_interval=0),
        'val_interval: .* at least 1, got 0.*--no-validate',
    ),
    'max_epochs': (dict(train_cfg__max_epochs=0), 'max_epochs: .* at least 1, got 0'),
    'max_epochs as text': (dict(train_cfg__max_epochs='3'), "max_epochs: .*'3'"),
    'loop': (
        dict(train_cfg=dict(_delete_=True, max_epochs=3)),
        'train_cfg: needs by_epoch',
    ),
    'workers that persist': (
        dict(train_dataloader__persistent_workers=True),
        'persistent_workers: is True, .*num_workers is 0',
    ),
    'save_best': (
        dict(default_hooks__checkpoint__save_best='accuracy/top5'),
        "save_best='accuracy/top5', but the validation gives accuracy/top1.*mean",
    ),
    'one of several evaluators': (
        dict(
            val_evaluator=[
                dict(type='Accuracy', topk=1),
                dict(type='SingleLabelMetric', items=('precison',)),
            ]
        ),
        'val_evaluator: .*precison',
    ),
    'topk': (dict(val_evaluator__topk=(1, 5)), 'val_evaluator: .*3.*5|.*5.*3'),
    'class_weight': (
        dict(model__head__loss=dict(type='CrossEntropyLoss', class_weight=[1.0, 2.0])),
        'class_weight: has 2 numbers, .* 3 classes: give 3 numbers',
    ),
    'augments': (
        dict(model__train_cfg=MIX),
        'augments: Mixup .*data_preprocessor.num_classes: set it to 3',
    ),
    'augments by name': (
        dict(model__train_cfg=dict(augments=['CutMix'])),
        r'augments: must hold dicts, such as dict\(type=.CutMix.\)',
    ),
    'augments of other classes': (
        dict(model__train_cfg=MIX, data_preprocessor__num_classes=5),
        'augments: Mixup .*num_classes: set it to 3',
    ),
    'classes of a loss': (
        dict(model__head__loss=SMOOTH),
        'loss.num_classes: is 7, but model.head has 3',
    ),
    'class_weight below 0': (
        dict(model__head__loss=dict(type='CrossEntropyLoss', class_weight=[1, -1, 1])),
        r'class_weight: must be 3 numbers, none negative, got \[1, -1, 1\]',
    ),
    'class_weight as text': (
        dict(model__head__loss=dict(type='CrossEntropyLoss', class_weight='gone.npy')),
        'class_weight: must be 3 numbers, or a file',
    ),
    'mean': (
        dict(data_preprocessor__mean=[1, 2]),
        r'data_preprocessor.mean: must be 3 numbers, got \[1, 2\]',
    ),
    'std': (dict(data_preprocessor__std=[1, 0, 1]), 'std: must be 3 numbers above 0'),
    'not a number': (
        dict(optim_wrapper__optimizer__lr=float('nan')),
        'optimizer.lr: is NaN',
    ),
    'number as text': (
        dict(custom_hooks=[EMA]),
        "custom_hooks.0.momentum: is the text '1e-3': write 0.001 without quotes",
    ),
    'size as text': (
        dict(
            train_dataloader__dataset__pipeline=[
                LOAD,
                dict(type='Resize', scale='16'),
                dict(type='PackInputs'),
            ]
        ),
        'pipeline.1.scale: Resize takes a number: write 16',
    ),
    'clip_grad': (
        dict(optim_wrapper__clip_grad=dict(max_nrm=1.0)),
        "clip_grad.max_nrm: .*'max_norm'",
    ),
    'pipeline without an end': (
        dict(train_dataloader__dataset__pipeline=[LOAD]),
        'pipeline: gives no inputs .*LoadImageFromFile: end it with PackInputs',
    ),
    'empty pipeline': (
        dict(val_dataloader__dataset__pipeline=[]),
        'pipeline: gives no inputs .*no transform: end it with PackInputs',
    ),
    'images left out of metrics': (
        dict(val_dataloader__drop_last=True),
        'val_dataloader.drop_last: is True, .* left out',
    ),
    'no images chosen': (
        dict(train_dataloader__dataset__indices=0),
        'dataset.indices: is 0, which leaves no image',
    ),
    'val_begin': (dict(train_cfg__val_begin=9), 'val_begin: is 9, .* ends at 2'),
    'topk of 0': (dict(val_evaluator__topk=(0,)), 'topk: .* at least 1, got 0'),
    'T_max': (
        dict(param_scheduler=dict(SCHEDULE, _delete_=True, T_max=0)),
        'T_max: .*1, got 0',
    ),
    'schedule that ends at 0': (
        dict(param_scheduler=dict(ZERO, _delete_=True)),
        'param_scheduler: LinearLR ends at end=1 with a learning rate of 0',
    ),
    'sliding': (
        dict(model__test_cfg=SEG_TEST, model__head=None),
        'model.test_cfg',
    ),
    'seed': (dict(randomness__seed='0'), "randomness.seed: .*'0'"),
}


@pytest.mark.parametrize('case', MISTAKES)
def test_mistakes(case):
    changes, words = MISTAKES[case]
    with pytest.raises(UserError, match=words):
        check(config('nowhere', **changes))


SEGMENTOR = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', size=(32, 32)),
    decode_head=dict(type='FCNHead', in_channels=4, channels=4, num_classes=3),
    test_cfg=dict(mode='slide', crop_size=(16, 16), stride=(16, 16)),
)


@pytest.mark.parametrize(
    ('key', 'value', 'words'),
    [
        ('test_cfg.stride', (32, 32), 'stride: is .*more than crop_size'),
        ('data_preprocessor.size', None, 'data_preprocessor: pads .*one of the two'),
        ('data_preprocessor.size', (32,), 'size: must be 2 numbers'),
        ('decode_head.channels', 0, 'channels: .* at least 1, got 0'),
        ('decode_head.loss_decode', [], 'loss_decode: is empty'),
        ('decode_head.threshold', 2.0, 'threshold: must be between 0 and 1'),
    ],
)
def test_mistakes_in_segmentors(key, value, words):
    settings = Config(dict(default_scope='mmseg', model=SEGMENTOR, train_dataloader={}))
    settings.train_dataloader.batch_size = 1
    found = [f'{place}: {text}' for rule in RULES for place, text in rule(settings)]
    assert not found, found
    settings.merge_from_dict({f'model.{key}': value})
    found = [f'{place}: {text}' for rule in RULES for place, text in rule(settings)]
    assert len(found) == 1 and re.search(words, found[0]), found


def test_schedules_that_count_iterations_of_epochs():
    """How many these are, only the data loader knows."""
    schedule = dict(type='CosineAnnealingLR', T_max=2, end=2, by_epoch=False)
    settings = config('nowhere', param_scheduler=schedule)
    assert not list(check_rules._stuck(settings))
    assert not list(check_rules._stuck(settings, 1))
    ((_, text),) = check_rules._stuck(settings, 3)
    assert 'max_epochs=2 is 6 iterations' in text and 'T_max) for 6' in text


@pytest.mark.parametrize(
    ('images', 'options', 'words'),
    [
        (12, dict(batch_size=16, drop_last=True), 'no batch: 12 images, batch_size=16'),
        (11, dict(batch_size=10), 'batch of 1, and 1 .BatchNorm1d.*drop_last=True'),
        (3, dict(batch_size=1), 'batch of 1, and 1 .BatchNorm1d'),
        (11, dict(batch_size=10, drop_last=True), None),
        (12, dict(batch_size=10), None),
    ],
)
def test_batches(images, options, words):
    loader = DataLoader(list(range(images)), **options)
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with pytest.raises(UserError, match=words) if words else nullcontext():
        check_rules._check_batches('train_dataloader', loader, model)


@pytest.mark.parametrize(
    ('head', 'words'),
    [
        (dict(in_channels=32, in_index=1), None),
        (dict(in_channels=[32, 32], in_index=[0, 1]), None),
        (dict(in_channels=64, in_index=1), 'auxiliary_head.in_channels is 64, .* 32'),
        (dict(in_channels=32, in_index=2), 'in_index is 2, .* 2 outputs'),
    ],
)
def test_channels_of_heads(head, words):
    model = nn.Module()
    model.backbone, model.auxiliary_head = nn.Module(), nn.ModuleList([nn.Module()])
    vars(model.backbone).update(embed_dims=32, out_indices=(0, 1))
    vars(model.auxiliary_head[0]).update(head)
    with pytest.raises(UserError, match=words) if words else nullcontext():
        check_rules._check_channels(model)
