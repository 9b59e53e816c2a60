# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The one check of a config, before anything is built.

Every dict with a ``type`` is bound against the signature of the class that takes it;
then rules look at values that no signature tells about. All mistakes are reported
together.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import textwrap
import traceback
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePath
from textwrap import shorten
from typing import Any

import mmengine.registry as roots
import mmengine.runner
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader

from mmvpt.errors import UserError, no_option, refuse, similar, unknown_type

from .check_rules import RULES
from .early_checks import GIVEN, REGISTRIES, TAKEN_OUT, UNCHECKED, popped

# Fields of a config that are built as they stand.
_FIELDS = (
    *('model', 'data_preprocessor', 'tta_model', 'tta_pipeline', 'param_scheduler'),
    *('custom_hooks', 'visualizer', 'log_processor', 'val_evaluator', 'test_evaluator'),
)
# A dict under these keys must name its type.
_TYPED = {
    *('model', 'backbone', 'head', 'decode_head', 'prompt', 'adapter', 'dataset'),
    *('pipeline', 'transforms', 'optimizer', 'param_scheduler', 'custom_hooks'),
    *('sampler', 'batch_sampler', 'val_evaluator', 'test_evaluator', 'metrics'),
}
_NUMBERS = {int, float}
_PLAIN = (str, int, float, list, tuple)
# Fields that are no dict but something else as well.
_KINDS = dict(
    param_scheduler=(Mapping, list, tuple),
    val_evaluator=(Mapping, list, tuple),
    test_evaluator=(Mapping, list, tuple),
    custom_hooks=(list, tuple),
    tta_pipeline=(list, tuple),
)
# Functions of mmengine that build something from a part of the config.
_BUILDERS = {
    *('build_from_cfg', 'build_dataloader', 'build_train_loop', 'build_val_loop'),
    *('build_test_loop', 'build_optim_wrapper', 'build_param_scheduler', 'from_cfg'),
}


class _Ours(inspect.Parameter):
    """A parameter of a class of mmvpt."""


def check_fields(config: Config) -> None:
    """Refuse a config whose parts are not dicts or lists where they must be."""
    dicts = {*_FIELDS, 'optim_wrapper', 'default_hooks', 'randomness', 'env_cfg'}
    for stage in ('train', 'val', 'test'):
        dicts |= {f'{stage}_dataloader', f'{stage}_cfg'}
    for field in sorted(dicts & set(config)):
        kinds = _KINDS.get(field, Mapping)
        if config[field] is not None and not isinstance(config[field], kinds):
            what = 'a dict' if kinds is Mapping else 'a list of dicts'
            raise UserError(f'{field}: must be {what}, got {config[field]!r}')
    for field in ('default_scope', 'load_from', 'work_dir', 'experiment_name'):
        if not isinstance(config.get(field), (str, PurePath, type(None))):
            raise UserError(f'{field}: must be text, got {config[field]!r}')


def check(config: Config) -> None:
    """Refuse a config with mistakes, and say all of them.

    Args:
        config: What will be trained or tested: what is None is not checked.

    Raises:
        UserError: With place, value and remedy of every mistake.
    """
    check_mmdetection(config)
    problems: list[tuple[str, str]] = []
    scope = config.get('default_scope') or 'mmengine'
    with DefaultScope.overwrite_default_scope(scope):
        for field, value in config.items():
            if value is not None:
                problems += _check_field(field, value)
        if not problems:  # rules may rely on what has been checked
            for rule in RULES:
                problems += rule(config)
    refuse(problems)


def check_mmdetection(config: Config) -> None:
    """Refuse a model with parts of mmdetection where that is not installed.

    Heads such as Mask2Former are other classes without it, whose options are others.
    """
    if "'type': 'mmdet." not in repr(config.to_dict().get('model')):
        return
    absent = [name for name in ('mmdet', 'mmcv._ext') if find_spec(name) is None]
    if absent:
        raise UserError(
            'model: types with the prefix mmdet. are of mmdetection, which cannot be '
            f'used here: {" and ".join(absent)} is not installed. Get them with `pip '
            'install onedl-mmdetection` and an mmcv with compiled operators.'
        )


def explain(error: BaseException) -> str | None:
    """Word an error of a class that is built from a config; None for everything else.

    These are values that only the class itself can judge. Errors from inside of mmvpt,
    whose constructors check their arguments, and from running are bugs.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    builds = [
        frame
        for frame in frames
        if frame.f_code.co_name in _BUILDERS
        and 'mmengine' in Path(frame.f_code.co_filename).parts
    ]
    if not builds or 'mmvpt' in Path(frames[-1].f_code.co_filename).parts:
        return None
    build = builds[-1]
    found = build.f_locals.get('obj_cls')
    name = getattr(found, '__name__', build.f_code.co_name.replace('build_', 'the '))
    given = build.f_locals.get('cfg') or build.f_locals.get('dataloader') or {}
    plain = {
        key: value
        for key, value in (dict.items(given) if isinstance(given, dict) else ())
        if key not in ('type', 'params')
        and isinstance(value, (str, int, float, list, tuple, dict, type(None)))
    }
    return (
        f'{name} cannot be built from the config: {type(error).__name__}: {error}'
        f' (given {shorten(str(plain), 300)})'
    )


def _check_field(field: str, value: Any) -> Iterator[tuple[str, str]]:
    """Check a field of the config, which must be one that a runner reads."""
    if field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if not isinstance(value, Mapping):
            yield field, f'must be a dict, got {value!r}'
            return
        taken = {**_parameters(DataLoader), 'num_batch_per_epoch': None}
        yield from _bind('DataLoader', taken, value, field)
        for key, registry in (
            ('sampler', roots.DATA_SAMPLERS),
            ('batch_sampler', roots.DATA_SAMPLERS),
            ('dataset', roots.DATASETS),
            ('collate_fn', roots.FUNCTIONS),
        ):
            if isinstance(value.get(key), Mapping):
                yield from _check(value[key], f'{field}.{key}', registry)
        for key in ('dataset', 'sampler'):
            part = value.get(key)
            if key == 'sampler' and value.get('batch_sampler') is not None:
                continue
            if part is None or isinstance(part, _PLAIN):
                yield f'{field}.{key}', f'must be a dict with a type, got {part!r}'
    elif field in ('train_cfg', 'val_cfg', 'test_cfg') and isinstance(value, Mapping):
        yield from _check_loop(field, value)
    elif field == 'optim_wrapper' and isinstance(value, Mapping):
        plain = {k: v for k, v in value.items() if k != 'constructor'}
        plain.setdefault('type', 'OptimWrapper')
        if 'optimizer' in plain:
            plain.pop('paramwise_cfg', None)
            yield from _check(plain, field, roots.OPTIM_WRAPPERS)
            yield from _check_clipping(plain.get('clip_grad'), f'{field}.clip_grad')
    elif field == 'default_hooks' and isinstance(value, Mapping):
        for key, hook in value.items():
            if hook is not None:
                yield from _check_typed(hook, f'{field}.{key}', roots.HOOKS)
    elif field in ('val_evaluator', 'test_evaluator') and isinstance(value, Mapping):
        registry = roots.EVALUATOR if 'metrics' in value else roots.METRICS
        yield from _check({'type': 'Evaluator', **value}, field, registry)
    elif field == 'randomness' and isinstance(value, Mapping):
        taken = _parameters(mmengine.runner.Runner.set_randomness)
        yield from _bind('randomness', taken, value, field)
    elif field in _FIELDS:
        yield from _check(value, field, REGISTRIES[field])


def _check_clipping(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        by_value = value.get('type') == 'value'
        function = clip_grad_value_ if by_value else clip_grad_norm_
        taken = {k: p for k, p in _parameters(function).items() if k != 'parameters'}
        given = {k: v for k, v in value.items() if k != 'type'}
        yield from _bind('clip_grad', taken, given, place)


def _check_loop(field: str, value: Mapping) -> Iterator[tuple[str, str]]:
    given = dict(value)
    if 'type' in given:
        yield from _check(given, field, roots.LOOPS)
        return
    if field == 'train_cfg':
        by_epoch = given.pop('by_epoch', None)
        if by_epoch is None:
            yield field, 'needs by_epoch=True or False, or the type of a loop'
            return
        name = 'EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop'
    else:
        name = 'ValLoop' if field == 'val_cfg' else 'TestLoop'
    loop = getattr(mmengine.runner, name)
    yield from _bind(name, _parameters(loop), given, field)
    yield from _missing(name, loop, given, field, roots.LOOPS)


def _check(value: Any, place: str, registry: Registry) -> Iterator[tuple[str, str]]:
    """Check a value and what is in it; dicts with a type are built by ``registry``."""
    if isinstance(value, (list, tuple)):
        key = place.rpartition('.')[2]
        for i, item in enumerate(value):
            item_place = f'{place}.{i}'
            if key in _TYPED and not isinstance(item, (list, tuple)):
                yield from _check_typed(item, item_place, registry)
            elif key in _TYPED and not (item and all(map(_is_dict, item))):
                yield item_place, f'must be a dict with a type, got {item!r}'
            else:
                yield from _check(item, item_place, registry)
        return
    if not isinstance(value, Mapping):
        if place.rpartition('.')[2] in _TYPED and isinstance(value, _PLAIN):
            yield place, f'must be a dict with a type, or a list of them, got {value!r}'
        return
    if 'type' not in value:
        if place.rpartition('.')[2] in _TYPED and value:
            yield from _check_typed(value, place, registry)
            return
    elif value['type'] is not None:
        yield from _check_object(value, place, registry)
    for key, item in value.items():
        if key in UNCHECKED or (registry is roots.HOOKS and isinstance(item, str)):
            continue  # text of a hook has been compared with its signature
        inner = REGISTRIES.get(key, registry)
        yield from _check(item, f'{place}.{key}', inner)


def _is_dict(value: Any) -> bool:
    return isinstance(value, Mapping)


def _check_typed(
    value: Any, place: str, registry: Registry
) -> Iterator[tuple[str, str]]:
    if not isinstance(value, Mapping):
        if value is None or isinstance(value, _PLAIN):
            yield place, f'must be a dict with a type, got {value!r}'
    elif 'type' not in value:
        keys = ', '.join(map(str, value)) or 'no keys'
        yield place, f"a config of {registry.name} has no key 'type'; it has {keys}."
    else:
        yield from _check(value, place, registry)


def _check_object(
    value: Mapping, place: str, registry: Registry
) -> Iterator[tuple[str, str]]:
    name = value['type']
    if isinstance(name, str):
        found = _find(name, registry, value.get('_scope_'))
        if found is None:
            yield f'{place}.type', _unknown(name, registry)
            return
    elif callable(name):
        found = name
    else:
        yield f'{place}.type', f'{name!r} is no name of a type'
        return
    given = {k: v for k, v in value.items() if k not in ('type', '_scope_')}
    name = getattr(found, '__name__', str(found))
    taken = _parameters(found)
    if registry is roots.WEIGHT_INITIALIZERS and name == 'PretrainedInit':
        return  # the backbone takes more, and checks it
    taken = {**taken, **dict.fromkeys(TAKEN_OUT.get(registry, ()))}
    yield from _bind(name, taken, given, place, GIVEN.get(registry, ()))
    yield from _missing(name, found, given, place, registry)


def _bind(
    name: str,
    taken: dict[Any, inspect.Parameter | None],
    given: Mapping,
    place: str,
    filled: Iterable[str] = (),
) -> Iterator[tuple[str, str]]:
    """Compare the keys and values of a dict with the parameters of its class."""
    for key, value in given.items():
        if key not in taken and ... not in taken:
            options = [option for option in taken if option not in filled]
            yield f'{place}.{key}', no_option(name, key, value, options)
        elif parameter := taken.get(key):
            if wrong := _misfit(value, parameter):
                yield f'{place}.{key}', f'{name} takes {wrong}, got {value!r}'


def _missing(
    name: str, found: Any, given: Mapping, place: str, registry: Registry
) -> Iterator[tuple[str, str]]:
    """Name required parameters that neither the config nor the builder gives."""
    if registry not in GIVEN:
        return
    lacking = [
        key
        for key, parameter in _signature(found).items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and key not in given
        and key not in GIVEN[registry]
    ]
    if lacking:
        words = ' and '.join(map(repr, lacking))
        yield place, f'{name} needs {words}, which the config does not give.'


@functools.cache
def _parameters(found: Any) -> dict[Any, inspect.Parameter | None]:
    """Return what a class takes, with what its bases take behind ``**``.

    With the key ``...`` it takes others as well.
    """
    taken: dict[Any, inspect.Parameter | None] = {}
    chain = found.__mro__ if inspect.isclass(found) else [found]
    for item in chain:
        function = vars(item).get('__init__') if inspect.isclass(item) else item
        if function is None:
            continue
        if item is object:
            break
        rest = None
        for key, parameter in _signature(
            function, vars(item) if function is not item else {}
        ).items():
            if parameter.kind is parameter.VAR_KEYWORD:
                rest = key
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                if str(getattr(function, '__module__', '')).startswith('mmvpt.'):
                    parameter = _Ours(
                        *(key, parameter.kind),
                        default=parameter.default,
                        annotation=parameter.annotation,
                    )
                taken.setdefault(key, parameter)
        if rest is None:
            return taken
        keys = _popped(function, rest)
        if keys is None:
            break
        taken.update(dict.fromkeys(sorted(keys - set(taken))))
    return {**taken, ...: None}  # what is behind ** goes where nobody can tell


def _signature(
    found: Any, owner: Mapping = types.MappingProxyType({})
) -> dict[str, inspect.Parameter]:
    """Return parameters by name, without self, with resolved annotations."""
    function = found.__init__ if inspect.isclass(found) else found
    try:
        parameters = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # written in C
        return {}
    if inspect.isclass(found) or owner:
        parameters.pop('self', None)
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # names that only a type checker can see
        hints = {}
    return {
        key: p.replace(annotation=hints.get(key, p.empty))
        for key, p in parameters.items()
    }


def _popped(function: Any, rest: str) -> set[str] | None:
    """Return the keys that a function takes out of its ``**rest``.

    None if the rest goes anywhere but to ``__init__`` of a base.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None
    return popped(tree, rest)


def _misfit(value: Any, parameter: inspect.Parameter) -> str | None:
    """Say what a parameter takes if a value is certainly something else.

    The annotations of mmvpt are true; what they leave open the constructors check.
    """
    default = parameter.default
    accepted = _scalars(parameter.annotation)
    ours = isinstance(parameter, _Ours)
    named = {parameter.annotation, *typing.get_args(parameter.annotation)}
    if isinstance(value, float) and not (value.is_integer() or named & {float, Any}):
        if int in named and not isinstance(default, float):
            return _worded({int}, value)
    if ours and accepted is None:
        optional = {type(None), None, parameter.empty, Any}
        return 'a value' if value is None and not named & optional else None
    if accepted is None:
        is_number = isinstance(default, (int, float)) and not isinstance(default, bool)
        is_size = named & _NUMBERS and not named & {str, Any}  # one number or several
        if isinstance(value, str) and (is_number or (is_size and _number(value))):
            return _worded(_NUMBERS, value)
        return None
    if value is None:
        fits = type(None) in accepted or default is None
    elif isinstance(value, bool):
        fits = bool in accepted or isinstance(default, bool) or str in accepted
    elif isinstance(value, (int, float)):
        fits = accepted != {type(None)}  # text of a number is for the class to judge
    elif isinstance(value, str):
        fits = str in accepted or isinstance(default, str)
    else:  # many annotations of others name a number where a sequence does as well
        several = bool(value) and not ours and bool(accepted & _NUMBERS)
        fits = several or not isinstance(value, (list, tuple, Mapping))
    return None if fits else _worded(accepted, value)


def _scalars(annotation: Any) -> set[type] | None:
    """Return the plain types that an annotation allows; None if it allows others."""
    if typing.get_origin(annotation) in (typing.Union, getattr(types, 'UnionType', 0)):
        found: set[type] = set()
        for part in map(_scalars, typing.get_args(annotation)):
            if part is None:
                return None
            found |= part
        return found
    if annotation in (int, float, bool, str, type(None)):
        return {annotation}
    return None


def _worded(accepted: set[type], value: Any) -> str:
    names = {int: 'an integer', float: 'a number', bool: 'True or False', str: 'text'}
    if float in accepted:
        accepted = accepted - {int}
    text = ' or '.join(names[kind] for kind in names if kind in accepted) or 'nothing'
    number = _number(value) if accepted & _NUMBERS else None
    if number is None:
        return text
    return f'{text}: write {number!r} without quotes (in YAML 1.0e-3, not 1e-3)'


def _number(value: Any) -> int | float | None:
    """Return the number that is written as text, None if none is."""
    for kind in (int, float):
        try:
            return kind(value) if isinstance(value, str) else None
        except ValueError:
            pass
    return None


def _find(name: str, registry: Registry, scope: str | None) -> Any:
    """Return what a name means in the scope of the config."""
    found = _in_scope(registry, scope).get(name)
    if found is None and registry is roots.MODELS:  # parts of models have registries
        prefix, _, short = name.rpartition('.')
        for other in _registries(prefix or scope):
            if short in other.module_dict:
                return other.module_dict[short]
    return found


def _in_scope(registry: Registry, scope: str | None) -> Registry:
    """Return the registry of the config's scope below one of mmengine's."""
    for other in _registries(scope):
        if other.parent is registry and other.scope not in ('mmengine', 'mmvpt'):
            return other
    return registry


def _registries(scope: str | None) -> Iterator[Registry]:
    """Yield all registries that the scope of the config can see."""
    current = DefaultScope.get_current_instance()
    names = {'mmengine', 'mmvpt', scope or (current and current.scope_name)}
    for name in sorted(filter(None, names)):
        try:
            module = import_module(f'{name}.registry')
        except ImportError:
            continue
        for registry in vars(module).values():
            if isinstance(registry, Registry):
                registry.import_from_location()
                yield registry


def options_of(part: Mapping) -> set[str]:
    """Return what the class that a dict names takes, as far as one can tell.

    Args:
        part: A part of a config, in its scope.
    """
    found = part.get('type')
    if isinstance(found, str):
        found = next(filter(None, (r.get(found) for r in _registries(None))), None)
    return set(_parameters(found)) - {...} if found is not None else set()


def _unknown(name: str, registry: Registry) -> str:
    """Word a type that nobody registered."""
    prefix, _, short = name.rpartition('.')
    current = _in_scope(registry, None)
    known, scope = _names(current), current.scope
    child = registry.children.get(prefix)
    if child:
        known = {f'{prefix}.{key}' for key in _names(child)}
    hint = similar(name if child else short, known)
    if scope == 'mmengine':
        return f'{name!r} is no known {registry.name}.{_about_scope(hint)}'
    return unknown_type(name, registry.name, hint, known)


def _about_scope(hint: str) -> str:
    """Say why mmengine's own registry was asked."""
    current = DefaultScope.get_current_instance()
    scope = 'mmengine' if current is None else current.scope_name
    if scope == 'mmengine':
        return (
            f"{hint} The config sets no default_scope: add default_scope='mmpretrain' "
            "or 'mmseg'."
        )
    if scope in sys.modules:
        return hint  # a kind of thing that the project has no registry of its own for
    return (
        f' The config has default_scope={scope!r}, but {scope} is not installed or '
        'cannot be imported: see docs/install.md.'
    )


def _names(registry: Registry) -> set[str]:
    """Names that a registry and its parents know."""
    names = set(registry.module_dict)
    return names | (_names(registry.parent) if registry.parent else set())
