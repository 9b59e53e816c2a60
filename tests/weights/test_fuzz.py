# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Mutated checkpoints end in the right weights or in an error that is the user's."""

import random
from collections import Counter

import pytest
import torch

from mmvpt.errors import UserError
from mmvpt.weights import convert
from tests.weights import layouts
from tests.weights.layouts import HEADS, weights
from tests.weights.sources import source
from tests.weights.test_recognition import PREFIXES, ROWS

TYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.float8_e4m3fn,
    torch.int8,
    torch.int32,
    torch.bool,
    torch.complex64,
)


def drop(rng, state):
    """Lose keys, as a shard would."""
    gone = set(rng.sample(list(state), rng.randint(1, max(1, len(state) // 2))))
    return {k: v for k, v in state.items() if k not in gone}


def prefix(rng, state):
    before = ''.join(rng.choices(PREFIXES[1:], k=rng.randint(1, 3)))
    return {before + k: v for k, v in state.items()}


def prefix_some(rng, state):
    before = rng.choice(PREFIXES[1:])
    return {(before if rng.random() < 0.5 else '') + k: v for k, v in state.items()}


def cast(rng, state):
    return {k: v.to(rng.choice(TYPES)) for k, v in state.items()}


def cast_one(rng, state):
    key = rng.choice(list(state))
    return {**state, key: state[key].to(rng.choice(TYPES))}


def reshape(rng, state):
    key = rng.choice(list(state))
    value = state[key]
    shapes = (
        value.flatten(),
        value.unsqueeze(0),
        value[: max(1, len(value) // 2)] if value.dim() else value,
        value.new_zeros(0),
        value.new_zeros(()),
    )
    return {**state, key: rng.choice(shapes)}


def positions(rng, state):
    key = next((k for k in state if 'pos' in k and state[k].dim() > 1), None)
    if key is None:
        return state
    value = state[key]
    rows = rng.randint(1, 40)
    shape = list(value.shape)
    shape[-2] = rows
    return {**state, key: torch.zeros(shape)}


def spoil(rng, state):
    key = rng.choice(list(state))
    wrong = rng.choice((float('nan'), float('inf')))
    return {**state, key: torch.full(state[key].shape, wrong)}


def rename(rng, state):
    key = rng.choice(list(state))
    new = rng.choice((key + '.extra', key.replace('weight', 'wight'), '', 'a', '.'))
    return {(new if k == key else k): v for k, v in state.items()}


def twice(rng, state):
    other = {f'b.{k}': torch.zeros_like(v) for k, v in state.items()}
    return {**{f'a.{k}': v for k, v in state.items()}, **other}


def foreign(rng, state):
    """Add keys of another family or layout."""
    _, arch, layout, *_ = rng.choice(ROWS)
    other = getattr(layouts, layout)(weights(arch, 1), arch)
    keys = rng.sample(list(other), rng.randint(1, 5))
    return {**{k: other[k] for k in keys}, **state}


MUTATIONS = (
    drop,
    prefix,
    prefix_some,
    cast,
    cast_one,
    reshape,
    positions,
    spoil,
    rename,
    twice,
    foreign,
)


@pytest.mark.sweep
def test_mutated_checkpoints():
    rng, ends, wrong = random.Random(0), Counter(), []
    for number in range(900):
        name, arch, layout, _, options = rng.choice(ROWS)
        state = weights(arch)
        given = getattr(layouts, layout)(state, arch)
        mutations = rng.choices(MUTATIONS, k=rng.randint(1, 2))
        for mutate in mutations:
            given = mutate(rng, given)
        label = (number, name, layout, *(m.__name__ for m in mutations))
        try:
            found = convert(source(given), num_heads=HEADS, **options)
        except UserError as error:
            assert str(error), label
            ends['refused'] += 1
            continue
        except Exception as error:
            wrong.append((label, repr(error)[:200]))
            continue
        ends['read'] += 1
        exact = {cast, cast_one, positions}.isdisjoint(mutations)
        if found.architecture.family != arch.family:
            wrong.append((label, f'read as {found.architecture.family}'))
        for key, value in found.state.items() if exact else ():
            if key not in state or not torch.equal(value, state[key]):
                wrong.append((label, f'{key} differs'))
                break
    assert not wrong, '\n'.join(map(str, wrong[:20])) + f'\n{len(wrong)}, {ends}'
    assert min(ends.values()) > 100, ends
