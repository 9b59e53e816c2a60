# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""How programs name the weights of a Vision Transformer.

A layout is a way to name them, whatever the family: the keys by which it is known, and
patterns that lead to the names of the backbone. Some names lead to parts that
:mod:`.assembly` puts together: ``attn.query``, ``ffn.gate``, ``pool.in_proj``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from mmengine.fileio import load


@dataclass(frozen=True)
class Layout:
    """One way to name weights."""

    patches: str  # pattern of the key of the patch projection; every model has one
    blocks: str  # pattern of a key of every layer
    #: Patterns and replacements; the first that matches counts.
    names: tuple[tuple[str, str], ...]
    #: Patterns of names that belong to such models and are not needed.
    unused: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        patches: str,
        blocks: str,
        names: Mapping[str, str] = MappingProxyType({}),
        layer: str = '',
        in_layer: Mapping[str, str] = MappingProxyType({}),
        unused: Sequence[str] = (),
    ) -> Layout:
        """Read an entry of ``layouts.yml``: what is in a layer follows its number."""
        own = ((layer + p, rf'layers.\1.{name}') for p, name in in_layer.items())
        return cls(patches, blocks, (*own, *names.items()), tuple(unused))

    def rename(self, name: str) -> str:
        """Return the backbone's name of a weight, or the name itself."""
        for pattern, replacement in self.names:
            new, count = re.subn(pattern, replacement, name)
            if count:
                return new
        return name


LAYOUTS = {
    name: Layout.of(**entry)
    for name, entry in load(str(Path(__file__).with_suffix('.yml'))).items()
}
