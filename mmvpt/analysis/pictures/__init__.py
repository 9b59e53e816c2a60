# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Pictures of the arrays, through matplotlib; nothing here computes."""

from .attention import draw_attention, draw_shares
from .class_map import draw_class_map
from .curves import draw_curves
from .embedding import draw_embedding
from .gates import draw_gates
from .similarity import draw_similarity
from .style import as_image, save

__all__ = [
    'as_image',
    'draw_attention',
    'draw_class_map',
    'draw_curves',
    'draw_embedding',
    'draw_gates',
    'draw_shares',
    'draw_similarity',
    'save',
]
