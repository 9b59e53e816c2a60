# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Mistakes of a config that the source of mmvpt tells, which is read, not imported.

Whatever is refused here, :mod:`mmvpt.engine.checks` would refuse in the same words,
once torch and OpenMMLab are imported, which takes seconds.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mmengine.registry as roots
from mmengine.config import Config
from mmengine.registry import Registry

from mmvpt import registry as ours
from mmvpt.errors import no_option, similar, unknown_type
from mmvpt.registry import ADAPTERS, PROMPTS

# What a dict at the top of a config, or under a key of a dict, is built by.
REGISTRIES = dict(
    model=roots.MODELS,
    data_preprocessor=roots.MODELS,
    tta_model=roots.MODELS,
    backbone=roots.MODELS,
    neck=roots.MODELS,
    head=roots.MODELS,
    decode_head=roots.MODELS,
    loss=roots.MODELS,
    auxiliary_head=roots.MODELS,
    prompt=PROMPTS,
    adapter=ADAPTERS,
    init_cfg=roots.WEIGHT_INITIALIZERS,
    dataset=roots.DATASETS,
    datasets=roots.DATASETS,
    pipeline=roots.TRANSFORMS,
    transforms=roots.TRANSFORMS,
    tta_pipeline=roots.TRANSFORMS,
    collate_fn=roots.FUNCTIONS,
    val_evaluator=roots.METRICS,
    test_evaluator=roots.METRICS,
    metrics=roots.METRICS,
    optimizer=roots.OPTIMIZERS,
    param_scheduler=roots.PARAM_SCHEDULERS,
    custom_hooks=roots.HOOKS,
    default_hooks=roots.HOOKS,
    visualizer=roots.VISUALIZERS,
    vis_backends=roots.VISBACKENDS,
    log_processor=roots.LOG_PROCESSORS,
)
# Types under these keys are none, or have keys that their owner takes out.
UNCHECKED = ('clip_grad', 'policies', 'tokenizer', 'metainfo')
# What whoever builds an object gives it besides the config.
GIVEN = {
    roots.PARAM_SCHEDULERS: {'optimizer'},
    roots.OPTIMIZERS: {'params', 'model'},
    roots.DATA_SAMPLERS: {'dataset', 'seed', 'sampler', 'batch_size', 'drop_last'},
    roots.LOOPS: {'runner', 'dataloader', 'evaluator'},
    PROMPTS: {'embed_dims', 'num_layers', 'patch_grid', 'patch_size'},
    roots.HOOKS: set(),
    roots.TRANSFORMS: set(),
    roots.DATASETS: set(),
    roots.METRICS: set(),
}
# Keys that whoever builds an object takes out.
TAKEN_OUT = {
    roots.PARAM_SCHEDULERS: ['convert_to_iter_based'],
    roots.HOOKS: ['priority'],
    roots.MODELS: ['requires_grad'],  # of a norm_cfg
}
#: Fields of a config that every command builds, and what a runner builds besides.
MODEL = ('model', 'data_preprocessor')
RUNNER = (*MODEL, 'default_hooks', 'custom_hooks')
# Projects that register nothing with mmvpt, whatever of them is imported.
_PROJECTS = {'mmengine', 'mmcv', 'mmpretrain', 'mmseg', 'mmdet', 'mmvpt', 'torch'}
_SCOPE = re.compile(r"'type': '(\w+)\.|'(?:_scope_|default_scope)': '(\w+)'")
_CLASS = re.compile(
    r"^(?:@(\w+)\.register_module\((?:name='(\w+)')?\)\n(?:@.*\n)*)?class (\w+)", re.M
)


def mistakes(config: Config, fields: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield places of options and types that mmvpt does not have, and what to say.

    None of a config for which other projects may have registered classes of their own.

    Args:
        config: The config.
        fields: Those of ``RUNNER`` that are looked into.
    """
    projects = {a or b for a, b in _SCOPE.findall(repr(config.to_dict()))}
    if config.get('custom_imports') or not projects <= _PROJECTS:
        return
    names, modules = index()
    content = {key: config[key] for key in config if key in fields}
    for part, place, registry in _typed(content):
        prefix, _, short = part['type'].rpartition('.')
        rootless = registry in (PROMPTS, ADAPTERS)
        if '_scope_' in part or prefix not in ('mmvpt', 'mmvpt' * (not rootless)):
            continue
        known = names.get(registry, {})
        if short in known:
            taken = options(known[short], modules)
            if taken is None:
                continue
            taken += TAKEN_OUT.get(registry, ())
            listed = [key for key in taken if key not in GIVEN.get(registry, ())]
            for key, value in part.items():
                if key not in (*taken, 'type', '_delete_'):
                    text = no_option(known[short], key, value, listed)
                    yield f'{place}.{key}', text
        elif rootless:  # others may be found in a registry of mmengine
            hint = similar(short, known)
            text = unknown_type(part['type'], registry.name, hint, known)
            yield f'{place}.type', text


def index() -> tuple[dict[Registry, dict[str, str]], dict[str, str]]:
    """Return registered classes by root and key, and modules of all by their names."""
    names: dict[Registry, dict[str, str]] = {}
    modules: dict[str, str] = {}
    folder = Path(ours.__file__).parent
    for path in folder.rglob('*.py'):
        parts = path.relative_to(folder.parent).with_suffix('').parts
        for registry, key, name in _CLASS.findall(path.read_text('utf-8')):
            modules[name] = '' if name in modules else '.'.join(parts)
            if registry:
                own = getattr(ours, registry)
                root = own if own.parent is None else own.parent
                names.setdefault(root, {})[key or name] = name
    return names, modules


def options(name: str, modules: Mapping[str, str]) -> list[str] | None:
    """Return what a class takes, with what its bases take behind ``**``.

    None where this is not certain: the rest goes to another project, or there are
    several bases, decorators, or classes of that name.

    Args:
        name: The class.
        modules: The modules of the classes of mmvpt.
    """
    taken: list[str] = []
    while modules.get(name):
        node = statement(f'{modules[name]}:{name}')
        init, named = initializer(node)
        decorators = [*node.decorator_list, *getattr(init, 'decorator_list', ())]
        if not all('.register_module(' in ast.unparse(d) for d in decorators):
            return None
        taken += named
        if init is not None and init.args.kwarg is None:
            return list(dict.fromkeys(taken))
        keys = set() if init is None else popped(init, init.args.kwarg.arg)
        if keys is None or len(node.bases) != 1:
            return None
        taken += sorted(keys)
        name = getattr(node.bases[0], 'id', '')
    return None


def statement(name: str) -> Any:
    """Return the statement that makes a name of a module.

    Args:
        name: 'module:name'.

    Raises:
        LookupError: If the module makes no such name.
    """
    module, _, wanted = name.partition(':')
    top, *parts = module.split('.')
    spec = find_spec(top)
    path = Path(str(spec and spec.origin)).parent.joinpath(*parts).with_suffix('.py')
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        for target in (node, *getattr(node, 'targets', ()), getattr(node, 'target', 0)):
            if wanted in (getattr(target, 'name', 0), getattr(target, 'id', 0)):
                return node
    raise LookupError(name)


def initializer(node: ast.ClassDef) -> tuple[Any, list[str]]:
    """Return the ``__init__`` in a class, if it has one, and arguments of it."""
    for init in node.body:
        if isinstance(init, ast.FunctionDef) and init.name == '__init__':
            args = init.args
            named = (*args.posonlyargs, *args.args, *args.kwonlyargs)
            return init, [argument.arg for argument in named][1:]
    return None, []


def popped(tree: ast.AST, rest: str) -> set[str] | None:
    """Return the keys that a function takes out of its ``**rest``.

    None if the rest goes anywhere but to ``__init__`` of a base.
    """
    keys: set[str] = set()
    passed = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, 'attr', '')
            inside = getattr(node.func, 'value', None)
            if name in ('pop', 'get') and getattr(inside, 'id', '') == rest:
                keys |= {
                    str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant)
                }
            for keyword in node.keywords:
                if keyword.arg is None and getattr(keyword.value, 'id', '') == rest:
                    if name != '__init__':
                        return None
                    passed = True
    return keys if passed else None


def _typed(
    value: Any, place: str = '', registry: Registry = roots.MODELS
) -> Iterator[tuple[Mapping, str, Registry]]:
    """Yield every dict with a type, its place, and what builds it."""
    if isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _typed(item, f'{place}{i}.', registry)
    elif isinstance(value, Mapping):
        if isinstance(value.get('type'), str):
            yield value, place[:-1], registry
        for key, item in value.items():
            if key not in UNCHECKED:
                inner = REGISTRIES.get(key, registry)
                yield from _typed(item, f'{place}{key}.', inner)
