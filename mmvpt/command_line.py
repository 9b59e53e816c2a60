# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Command lines made from functions: signatures, and what is said of arguments.

Both are read from the source: a help or a mistake is shown before torch and OpenMMLab,
whose import takes seconds.
"""

from __future__ import annotations

import argparse
import ast
import functools
import inspect
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.fileio import load

from mmvpt.display import find_function
from mmvpt.engine.config_file import OptionAction, load_config
from mmvpt.engine.early_checks import MODEL, statement

_PACKAGE = Path(__file__).parent


def declared(name: str) -> Callable:
    """Return a stand-in for a function or data class, which is imported when called.

    Args:
        name: 'module:name'. Its decorators do not change the signature, and defaults
            are no names of the module.
    """
    node = statement(name)
    node.body = [n for n in node.body if isinstance(n, (ast.Expr, ast.AnnAssign))]
    future = ast.parse('from __future__ import annotations').body
    found: dict[str, Any] = dict(dataclass=dataclass)
    exec(compile(ast.Module([*future, node], []), name, 'exec'), found)

    @functools.wraps(found[node.name])
    def call(*args: Any, **kwargs: Any) -> Any:
        return find_function(name)(*args, **kwargs)

    return call


def listed(name: str) -> list[str]:
    """Return the keys of a dict, or the items of a tuple, without importing its module.

    Args:
        name: 'module:NAME' of a constant that is written out.
    """
    value = statement(name).value
    if isinstance(value, ast.Call):  # dict(key=...)
        return [str(keyword.arg) for keyword in value.keywords]
    items: Any = value.keys if isinstance(value, ast.Dict) else value.elts
    return [ast.literal_eval(item) for item in items]


def table(name: str) -> dict[str, Any]:
    """Return a table of the package, such as ``bench/protocols.yml``."""
    return load(str(_PACKAGE / name))


#: Arguments of commands that run in several processes; torch.distributed.launch passes
#: either spelling of the last.
DISTRIBUTED = dict(
    launcher=dict(choices=listed('mmvpt.engine.distributed:LAUNCHERS')),
    local_rank=dict(flags=('--local_rank', '--local-rank')),
)
#: Arguments of commands that look into models.
LOOK: dict[str, dict] = dict(
    checkpoint=dict(placed=True, nargs='?'),
    split=dict(choices=['train', 'val', 'test']),
    num=dict(flags=('--num', '-n')),
    images=dict(metavar='FILE'),
)
WORKERS = dict(default=min(2, os.cpu_count() or 1))
#: Arguments of commands that search.
SEARCH: dict[str, dict] = dict(
    strategy=dict(choices=listed('mmvpt.bench.strategies:STRATEGIES')),
    accept_duplicates=dict(metavar='N'),
    workers=WORKERS,
    devices=dict(metavar='GPU'),
)
#: Arguments of commands that measure speed.
SPEED: dict[str, dict] = dict(
    device=dict(choices=('cpu', 'cuda'), help='where it runs'),
    dtype=dict(choices=('fp32', 'bf16')),
    num_tokens=dict(metavar='M'),
)
#: The same of commands that have but one way to train.
SPEED_OF_ONE: dict[str, dict | None] = dict(
    **SPEED,
    **dict.fromkeys(('mode', 'drop_rate', 'optimizer', 'with_cp', 'attention')),
    compiled=None,
)
_CHANGES = dict(
    nargs='+',
    action=OptionAction,
    metavar='KEY=VALUE',
    help='change the config, for instance model.head.num_classes=10. Lists are written '
    'key="[a,b]", without blanks.',
)


def run(
    function: Callable, doc: str, argv: Sequence[str] | None = None, **changes: Any
) -> Any:
    """Call a function with the arguments of a command line, and return what it does.

    Args:
        function: The function.
        doc: What the help begins with.
        argv: Arguments; those of the process by default.
        **changes: See :func:`parser_of`; ``also`` names further functions, to which the
            first one hands keyword arguments on, ``checked`` what the function builds
            of a config.
    """
    also, checked = changes.pop('also', ()), changes.pop('checked', MODEL)
    args = parser_of(doc, function, *also, **changes).parse_args(argv)
    if getattr(args, 'config', None) is not None:  # told before anything is imported
        load_config(args.config, getattr(args, 'cfg_options', None), checked)
    return function(**vars(args))


def parser_of(
    doc: str, *functions: Callable, **changes: dict[str, Any] | None
) -> argparse.ArgumentParser:
    """Return a parser for the arguments of functions.

    An argument without a default has a place on the command line, others are options;
    a True becomes ``--no-NAME``. Types are those of the signature, help is what the
    docstring says.

    Args:
        doc: What the help begins with.
        functions: The functions; an argument of several is that of the first.
        **changes: By name, None for an argument that the command line does not have;
            otherwise what ``add_argument`` gets besides or instead, which for a name
            that no function has is all; with ``flags``, what options are called, and
            ``placed``, whether it is no option.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments: dict[str, dict[str, Any]] = {}
    for function in functions:
        said = _said(function)
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD or changes.get(name, 1) is None:
                continue
            if 'Callable' not in str(parameter.annotation):
                found = {'help': said.get(name, ''), **_argument(parameter)}
                arguments.setdefault(name, found)
    for name, change in changes.items():
        if change is not None:
            arguments[name] = {**arguments.get(name, {}), **change}
    for name, about in arguments.items():
        placed, flags = about.pop('placed', False), about.pop('flags', ())
        about['help'] = _help(about, not flags)
        if placed:
            parser.add_argument(name, **about)
            continue
        negated = 'no-' * (about.get('default') is True)
        flags = flags or (f'--{negated}{name.replace("_", "-")}',)
        parser.add_argument(*flags, dest=name, **about)
    return parser


def _argument(parameter: inspect.Parameter) -> dict[str, Any]:
    """Return what ``add_argument`` gets for a parameter."""
    kind, default = str(parameter.annotation), parameter.default
    if default is parameter.empty:
        about: dict[str, Any] = dict(placed=True)
    else:
        about = dict(default=default)
    if kind == 'bool':
        return dict(about, action='store_false' if default else 'store_true')
    if kind.startswith(('Mapping', 'dict')):
        return {**about, **_CHANGES}
    if 'Sequence' in kind or 'tuple[' in kind:
        about['nargs'] = '+'
    for number in (int, float):
        if re.search(rf'\b{number.__name__}\b', kind):
            about['type'] = number
    return about


def _help(about: dict[str, Any], negated: bool) -> str:
    """Return the help of an argument, which names its default."""
    text, default = about.get('help', ''), about.get('default')
    if default is True and negated:
        text = f'do not {text}'
    elif not isinstance(default, (bool, type(None))) and '[' not in text:
        several = isinstance(default, (list, tuple))
        shown = ' '.join(map(str, default)) if several else default
        text += f' [{shown}]' * bool(f'{shown}')
    return text.replace('%', '%%')


def _said(function: Callable) -> dict[str, str]:
    """Return what the docstring of a function says of each argument."""
    _, _, section = (inspect.getdoc(function) or '').partition('\nArgs:\n')
    section = re.split(r'\n\n\w', section)[0]
    entries = re.findall(r'^    (\w+): ((?:.+\n?(?:     +.+\n?)*))', section, re.M)
    return {name: _phrase(' '.join(text.split())) for name, text in entries}


def _phrase(text: str) -> str:
    """Return a sentence as the help of an argument begins and ends."""
    text = re.sub(r'``|:\w+:', '', text).removesuffix('.')
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
