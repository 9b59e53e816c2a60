# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The engine of DA-VPT: labels, class means, clustering, metric losses."""

from .hooks import MetricGuidanceHook, SemanticMappingHook

__all__ = ['MetricGuidanceHook', 'SemanticMappingHook']
