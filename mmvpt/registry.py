# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Registries of mmvpt: children of mmengine's roots under the scope ``mmvpt``.

mmengine imports this module by itself when it meets a type such as
``mmvpt.DeepPrompt``, and ``locations`` imports the classes when a registry is first
searched, so configs need no ``custom_imports``. Keep this file free of anything but
``Registry`` calls: an error raised here is swallowed by mmengine and reappears as a
misleading one.
"""

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import PARAM_SCHEDULERS as MMENGINE_PARAM_SCHEDULERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISUALIZERS as MMENGINE_VISUALIZERS
from mmengine.registry import Registry

MODELS = Registry(
    'model', parent=MMENGINE_MODELS, scope='mmvpt', locations=['mmvpt.models']
)
# mmengine has neither prompts nor adapters: roots of their own.
PROMPTS = Registry('prompt', scope='mmvpt', locations=['mmvpt.models.prompts'])
ADAPTERS = Registry('adapter', scope='mmvpt', locations=['mmvpt.models.adapters'])

HOOKS = Registry(
    'hook',
    parent=MMENGINE_HOOKS,
    scope='mmvpt',
    locations=['mmvpt.engine.hooks', 'mmvpt.engine.guidance'],
)
LOOPS = Registry(
    'loop', parent=MMENGINE_LOOPS, scope='mmvpt', locations=['mmvpt.engine.loops']
)
OPTIM_WRAPPERS = Registry(
    'optim_wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope='mmvpt',
    locations=['mmvpt.engine.optim'],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmvpt',
    locations=['mmvpt.engine.optim'],
)
PARAM_SCHEDULERS = Registry(
    'parameter scheduler',
    parent=MMENGINE_PARAM_SCHEDULERS,
    scope='mmvpt',
    locations=['mmvpt.engine.optim'],
)
FUNCTIONS = Registry(
    'function', parent=MMENGINE_FUNCTIONS, scope='mmvpt', locations=['mmvpt.engine']
)
VISUALIZERS = Registry(
    'visualizer', parent=MMENGINE_VISUALIZERS, scope='mmvpt', locations=['mmvpt.engine']
)

DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, scope='mmvpt', locations=['mmvpt.datasets']
)
DATA_SAMPLERS = Registry(
    'data sampler',
    parent=MMENGINE_DATA_SAMPLERS,
    scope='mmvpt',
    locations=['mmvpt.datasets'],
)
TRANSFORMS = Registry(
    'transform', parent=MMENGINE_TRANSFORMS, scope='mmvpt', locations=['mmvpt.datasets']
)
METRICS = Registry(
    'metric', parent=MMENGINE_METRICS, scope='mmvpt', locations=['mmvpt.datasets']
)
