# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A config with mistakes is refused before anything is built, all of them at once."""

import pytest
from mmengine.registry import DefaultScope, Registry

from mmvpt.engine import checks
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
