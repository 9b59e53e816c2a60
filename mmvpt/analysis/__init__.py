# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A look inside tuned models: arrays here, pictures of them in ``pictures``."""

from .attention import (
    Attention,
    attention_arrays,
    attention_maps,
    layer_attention,
    shares,
)
from .class_map import checkpoint_map, drift, read_checkpoint_maps, read_history
from .curves import Curve, read_curves
from .embedding import layer_points, place
from .gates import gate_arrays, gates_of_state
from .layers import (
    LayerInput,
    positive_prompts,
    prompted_backbone,
    read_layers,
    resolve_layer,
)
from .similarity import prompt_similarity

__all__ = [
    'Attention',
    'Curve',
    'LayerInput',
    'attention_arrays',
    'attention_maps',
    'checkpoint_map',
    'drift',
    'gate_arrays',
    'gates_of_state',
    'layer_attention',
    'layer_points',
    'place',
    'positive_prompts',
    'prompt_similarity',
    'prompted_backbone',
    'read_checkpoint_maps',
    'read_curves',
    'read_history',
    'read_layers',
    'resolve_layer',
    'shares',
]
