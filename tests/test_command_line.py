# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
from __future__ import annotations

import pytest

from mmvpt.command_line import parser_of, run


def grow(
    plant,
    pots: Sequence[int] = (1, 2),  # noqa: F821
    *,
    water: float = 0.5,
    light: bool = True,
    prune: bool = False,
    cfg_options: Mapping | None = None,  # noqa: F821
    seen: Callable | None = None,  # noqa: F821
    **more,
):
    """Grow.

    Args:
        plant: Its name.
        pots: Where it stands, 100 % of them
            in a row.
        water: ``Litres``.
        light: Let light in.
    """
    return dict(plant=plant, pots=pots, water=water, light=light, more=more)


def feed(kind: str = 'none', water: float = 2.0):
    """Feed.

    Args:
        kind: What [nothing].
    """


def test_arguments_become_those_of_the_function():
    line = 'rose --pots 3 4 --water 2 --no-light --kind dung'.split()
    found = run(grow, 'Doc.', line, also=(feed,))
    assert found.pop('more') == dict(kind='dung')
    assert found == dict(plant='rose', pots=[3, 4], water=2.0, light=False)
    args = parser_of('Doc.', grow).parse_args(['rose', '--cfg-options', 'a.b=1'])
    assert args.cfg_options == {'a.b': 1} and not hasattr(args, 'seen')


def test_a_config_may_be_left_out():
    def publish(config: str | None = None):
        return config

    assert run(publish, 'Doc.', []) is None


def test_help_is_what_the_docstring_says():
    printed = ' '.join(parser_of('Doc.', grow, feed).format_help().split())
    assert 'where it stands, 100 % of them in a row [1 2]' in printed
    assert 'litres [0.5]' in printed and 'do not let light in' in printed
    assert 'what [nothing] ' in printed + ' ' and '[2.0]' not in printed


def test_changes():
    parser = parser_of(
        'Doc.',
        feed,
        kind=dict(choices=['dung', 'ash']),
        water=None,
        extra=dict(placed=True, nargs='?'),
    )
    assert vars(parser.parse_args(['x'])) == dict(kind='none', extra='x')
    with pytest.raises(SystemExit) as error:
        parser.parse_args(['--kind', 'sand'])
    assert error.value.code == 2
