# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Using tuned models: load, predict, publish, merge."""

from .folder import predict_to_folder
from .images import ImageError, find_images
from .load import build_model, load, trusted_config
from .many_tasks import TaskBank
from .prompted_classifier import PromptedClassifier, prompted
from .release import merge, publish, write_config
from .results import Classification, MultiLabel, Predictions, Segmentation, Unreadable
from .tuned_model import TunedModel

__all__ = [
    'Classification',
    'ImageError',
    'MultiLabel',
    'Predictions',
    'PromptedClassifier',
    'Segmentation',
    'TaskBank',
    'TunedModel',
    'Unreadable',
    'build_model',
    'find_images',
    'load',
    'merge',
    'predict_to_folder',
    'prompted',
    'publish',
    'trusted_config',
    'write_config',
]
