# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The one class of errors that are the user's to mend, and how programs show them."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(ValueError):
    """An input that cannot be used as given.

    The message says what was given, what is allowed and what to do. Tools print it as
    one message and exit with status 1; every other exception is a bug and keeps its
    traceback.
    """


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that a user named and that is not there."""


class MissingPackageError(UserError, ModuleNotFoundError):
    """A package that something optional needs and that is not installed."""


class NotFiniteError(UserError, FloatingPointError):
    """A training whose loss or gradient is no number any more."""


class FullDiskError(UserError, OSError):
    """A file that was not written, for want of space."""


class FileInTheWayError(UserError, FileExistsError):
    """A file or folder that is there and would be lost."""


def explain(error: BaseException) -> str | None:
    """Return the message of an error that is the user's; None for everything else.

    The error may have been raised in a data-loading worker, whose traceback torch puts
    in front of the message; it may be wrapped by another one that quotes it; and a
    process of a distributed run may only see that another one ended with it.

    Args:
        error: The error.
    """
    message = str(error.args[0]) if error.args else str(error)
    if isinstance(error, UserError):
        if 'Original Traceback' in message:
            name = f'\n{type(error).__module__}.{type(error).__qualname__}: '
            message = message.rpartition(name)[2].rstrip()
        return message
    if 'gloo' in message and ' by peer' in message:
        return (
            'another process of this run ended first, and its own message says why '
            f'(here: {message.splitlines()[0]})'
        )
    inner = error.__cause__ or error.__context__
    quoted = None if inner is None else explain(inner)
    return message if quoted and quoted in message else None


def run_tool(main: Callable[[], object]) -> None:
    """Run a tool as a program: a :class:`UserError` becomes one message.

    Exits with status 1 after such an error; bugs keep their traceback.

    Args:
        main: The tool. A KeyboardInterrupt may carry words on how to go on.
    """
    try:
        main()
    except KeyboardInterrupt as interrupt:
        sys.exit('; '.join(['interrupted', *map(str, interrupt.args)]))
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        print(f'{Path(sys.argv[0]).name}: error: {message}', file=sys.stderr)
        sys.exit(1)


@contextmanager
def needed(
    message: str, error: type[UserError] = MissingPackageError
) -> Iterator[None]:
    """Have imports of a package that may be missing fail with what to install.

    Args:
        message: What needs the package, and how it is installed.
        error: What is raised.
    """
    try:
        yield
    except ImportError as missing:
        raise error(message) from missing


def similar(name: str, known: Iterable[str]) -> str:
    """Word what was meant by a misspelt name; empty if nothing is near.

    Args:
        name: What was given.
        known: What there is.
    """
    close = difflib.get_close_matches(name, sorted(known), n=2)
    return f' Did you mean {" or ".join(map(repr, close))}?' if close else ''


def no_option(name: str, key: object, value: object, options: Iterable[str]) -> str:
    """Word an option of a config that its class does not take.

    Args:
        name: The class.
        key: The option.
        value: What the config gives it.
        options: What there is.
    """
    hint = similar(str(key), options) or f' Options: {", ".join(options)}.'
    return f'{name} has no option {key!r} (value {value!r} in the config).{hint}'


def unknown_type(name: str, kind: str, hint: str, known: Collection[str]) -> str:
    """Word a type of a config that nobody registered.

    Args:
        name: The type.
        kind: What its registry holds.
        hint: What may be meant, if anything is near.
        known: What there is.
    """
    if not hint and len(known) <= 20:
        hint = f' Known types: {", ".join(sorted(known))}.'
    elif not hint:
        hint = (
            ' Correct it, or add the module that registers it to custom_imports; types '
            "of mmvpt carry the prefix 'mmvpt.'."
        )
    return f'{name!r} is no known {kind}.{hint}'


def refuse(problems: Iterable[tuple[str, str]]) -> None:
    """Raise all mistakes of a config as one error, if there are any.

    Args:
        problems: Places, and what is wrong there.
    """
    lines = [f'{place}: {text}' for place, text in dict.fromkeys(problems)]
    if len(lines) == 1:
        raise UserError(lines[0])
    if lines:
        raise UserError(
            f'{len(lines)} mistakes in the config:\n'
            + '\n'.join(f'  {i}. {line}' for i, line in enumerate(lines, 1))
        )


def require_known(what: str, names: Iterable[str], known: Collection[str]) -> None:
    """Refuse names that there are not, and say what there is.

    Args:
        what: What is named.
        names: What was given.
        known: What there is.
    """
    for name in names:
        if name not in known:
            raise UserError(
                f'unknown {what} {name!r}; there are {", ".join(known)}.'
                f'{similar(name, known)}'
            )


def one_of(name: str, value: object, allowed: Collection) -> None:
    """Raise unless ``value`` is one of ``allowed``.

    Raises:
        UserError: With the name, the value and what is allowed.
    """
    if value not in allowed:
        choices = ', '.join(map(repr, allowed))
        raise UserError(f'{name} must be one of {choices}; got {value!r}.')
