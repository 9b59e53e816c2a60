# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Misspelt keys and types are explained, bugs of the same kind are not."""

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry

from mmvpt.engine.checks import explain_config_mistake
from mmvpt.engine.config_file import merge_options

THINGS = Registry('thing', scope='mmengine', locations=[])


@THINGS.register_module()
class Parent:
    def __init__(self, size, *, color='red'):
        self.size = size


@THINGS.register_module()
class Child(Parent):
    def __init__(self, depth=1, **kwargs):
        super().__init__(**kwargs)


@THINGS.register_module()
class Buggy:
    def __init__(self, size=1):
        Parent(size=1, shape=2)  # an argument that no config gave


@THINGS.register_module()
class Careless:
    def __init__(self):
        Parent()


def explanation(**config):
    with pytest.raises((TypeError, KeyError)) as error:
        THINGS.build(config)
    return explain_config_mistake(error.value)


def test_key_of_a_parent_is_named_with_the_type_of_the_config():
    text = explanation(type='Child', size=1, colour='blue')
    assert text == (
        "Child has no option 'colour' (value 'blue' in the config). "
        "Did you mean 'color'?"
    )


def test_options_are_listed_when_none_is_similar():
    text = explanation(type='Child', size=1, zzz=3)
    assert text.endswith('Options: depth, size, color.')


def test_a_scope_that_is_not_installed():
    with DefaultScope.overwrite_default_scope('mmabsent'):
        text = explanation(type='Chill')
    assert "default_scope='mmabsent', but mmabsent is not installed" in text
    with DefaultScope.overwrite_default_scope('mmengine'):
        assert 'sets no default_scope' in explanation(type='Chill')


def test_missing_key():
    assert explanation(type='Parent') == (
        "Parent needs 'size', which the config does not give."
    )


def test_bugs_are_not_explained():
    assert explanation(type='Buggy') is None
    assert explanation(type='Careless') is None
    try:
        Parent(shape=1)
    except TypeError as error:
        assert explain_config_mistake(error) is None


def test_unknown_type():
    assert "'Chil' is no known thing. Did you mean 'Child'?" in explanation(type='Chil')


def test_options_of_the_runner_may_be_new_to_a_config():
    config = Config(dict(model=dict(a=1)))
    merge_options(config, {'randomness.seed': 3, 'model.b': 2, 'resume': True})
    assert config.randomness.seed == 3 and config.model == dict(a=1, b=2)
    for key in ('modle.a', 'self', 'cfg'):
        with pytest.raises(ValueError, match=f"no '{key.split('.')[0]}'"):
            merge_options(config, {key: 1})
