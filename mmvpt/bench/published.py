# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Figures that papers state, from the tables in mmvpt/zoo/data."""

from __future__ import annotations

from typing import NamedTuple

from mmvpt.zoo.tables import PUBLISHED, read_table

from .groups import means_of_vtab


class Figures(NamedTuple):
    """What is published for a method with a backbone."""

    values: dict[str, float]  # by task, group or mean
    protocol: str
    source: str


def published(method: str, backbone: str) -> Figures | None:
    """Return what is published for a method with a backbone, None if nothing is.

    Papers state one mean of VTAB-1k or the other; where they state the means of its
    groups, both are computed from those.

    Args:
        method: As in the names of configs.
        backbone: As in the names of configs, for segmentation with the decoder.
    """
    values = {
        scope: float(text)
        for (name, weights, scope), text in PUBLISHED.items()
        if (name, weights) == (method, backbone)
    }
    if not values:
        return None
    sources = {(r['method'], r['backbone']): r for r in read_table('published_sources')}
    about = sources[method, backbone]
    return Figures(
        {**values, **means_of_vtab(values)}, about['protocol'], about['source']
    )
