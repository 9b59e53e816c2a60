# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What a task to prepare is, and what a parser of raw data hands on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from mmvpt.errors import UserError


class RefusedError(UserError):
    """The source is not what it should be; the message says what to do."""


#: What code raises that reads content of another format than it expects.
MALFORMED = (AttributeError, LookupError, StopIteration, TypeError, ValueError)
AGAIN = 'Download it again.'


@contextmanager
def as_published(
    problem: str, errors: tuple[type[Exception], ...] = MALFORMED, remedy: str = AGAIN
) -> Iterator[None]:
    """Word what reading raises if the content is not in the published format.

    Args:
        problem: What is then said to be wrong.
        errors: What may be raised.
        remedy: What to do about it.
    """
    try:
        yield
    except (RefusedError, ImportError):
        raise
    except errors as error:
        reason = f'{type(error).__name__}: {error}'
        raise RefusedError(f'{problem} ({reason}). {remedy}') from error


class Item(NamedTuple):
    """One labelled image on its way to the output."""

    key: str  # what the published split calls it
    name: str  # path of the file in the output, below its split's folder
    label: int
    read: Callable[[], bytes]  # returns the output file's content


class Pools(NamedTuple):
    """What a parser found: the images of each published part of the raw data."""

    items: Mapping[str, Sequence[Item]]  # part, such as 'train' -> its images
    kind: str  # the kind of source, for the origin file
    classes: Sequence[str] | None = None  # class names in the order of the labels
    final: bool = False  # the parts are the task's splits already, in their order
    stored: bool = False  # the items are in TFDS's order already
    official: bool | None = None  # replaces Task.official, if not None
    split_note: str = ''  # replaces Task.split_note, if not empty


class Rule(NamedTuple):
    """Where VTAB-1k takes its lists from: parts or shares of them, 'train[90%:]'."""

    train: str
    val: str
    test: str


@dataclass(frozen=True)
class Task:
    """One task: where it is written, how it is read, what is expected of it."""

    name: str  # name on the command line
    #: 'natural', 'specialized', 'structured' (VTAB-1k), 'fgvc' or 'segmentation'.
    group: str
    folder: str  # output folder below ``--out``
    num_classes: int  # number of classes (K)
    counts: Mapping[str, int]  # split -> images in it
    #: Reads the raw data: called with a ``Source`` and the task.
    parse: Callable[..., Pools]
    #: Name patterns of the published archives. Those found in a source folder are read
    #: as if they were unpacked where they lie.
    archives: tuple[str, ...]
    wants: str  # the expected source in one sentence, for messages and the docs
    homepage: str  # where the data comes from
    terms: str  # terms of use in one sentence
    tfds: str = ''  # its name in TensorFlow Datasets, where it is another one
    in_lists: str = ''  # likewise in ``vtab_trainval_splits.json``
    rule: Rule | None = None  # VTAB-1k's lists in terms of the published parts
    #: Whether the splits are the published ones if made from raw data; None if they
    #: should be, but no published list could confirm it.
    official: bool | None = True
    #: How the splits are made from raw data.
    split_note: str = 'as published with the data'
    #: Splits whose count was recalled, not read from a source.
    unverified: tuple[str, ...] = ()
    options: Mapping = field(default_factory=dict)  # what else the parser needs to know

    @property
    def layout(self) -> str:
        """Layout of the output: 'vtab-1k', 'fgvc' or 'segmentation'."""
        return self.group if self.group in ('fgvc', 'segmentation') else 'vtab-1k'
