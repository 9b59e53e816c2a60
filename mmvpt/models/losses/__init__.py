# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Metric losses: (vectors, proxies, targets) to a scalar."""

from .metric_learning_library import MetricLearningLibraryLoss
from .proxy_anchor import ProxyAnchorLoss

__all__ = ['MetricLearningLibraryLoss', 'ProxyAnchorLoss']
