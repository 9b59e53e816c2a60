# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Names of weights in files, and what programs put before and into them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

#: What torch.compile, FSDP and checkpointing put into names.
WRAPPERS = re.compile(
    r'(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.'
)


def without_prefix(state: Mapping[str, Any], own: Collection[str]) -> dict[str, Any]:
    """Take off what stands before the names of a whole model.

    That is what wrappers put there, and one prefix of all, such as ``module.`` or
    ``model.``, if only without it names are those of the model.

    Args:
        state: What a file holds, by name.
        own: The names that the model has.
    """
    state = {WRAPPERS.sub('', name): value for name, value in state.items()}
    if any(name in own for name in state):
        return state
    for name in own:
        found = {k.removesuffix(name) for k in state if k.endswith(f'.{name}')}
        if len(found) == 1:
            prefix = found.pop()
            return {k.removeprefix(prefix): value for k, value in state.items()}
    return state
