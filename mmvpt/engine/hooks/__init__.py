# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Hooks."""

from mmvpt.engine.guidance.hooks import MetricGuidanceHook, SemanticMappingHook

from .atomic_checkpoint_hook import AtomicCheckpointHook
from .companion_loss_hook import CompanionLossHook
from .complete_weights_hook import CompleteWeightsHook
from .distinct_pictures_hook import DistinctPicturesHook
from .equal_buffers_hook import EqualBuffersHook
from .finite_loss_hook import FiniteLossHook
from .normalization_hook import NormalizationHook
from .num_classes_hook import NumClassesHook
from .prefix_cache_hook import PrefixCacheHook
from .prompt_init_hook import PromptInitHook
from .prompt_loss_hook import PromptLossHook
from .prompt_relocation_hook import PromptRelocationHook
from .prompt_visualization_hook import PromptVisualizationHook
from .resume_hook import ResumeHook
from .seed_hook import SeedHook
from .tuned_parameters_hook import TunedParametersHook

__all__ = [
    'AtomicCheckpointHook',
    'CompanionLossHook',
    'CompleteWeightsHook',
    'DistinctPicturesHook',
    'EqualBuffersHook',
    'FiniteLossHook',
    'MetricGuidanceHook',
    'NormalizationHook',
    'NumClassesHook',
    'PrefixCacheHook',
    'PromptInitHook',
    'PromptLossHook',
    'PromptRelocationHook',
    'PromptVisualizationHook',
    'ResumeHook',
    'SeedHook',
    'SemanticMappingHook',
    'TunedParametersHook',
]
