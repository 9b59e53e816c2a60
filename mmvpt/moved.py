# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Modules of the first edition under their old names: imports of them keep working."""

import sys
import warnings
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PLACES = {
    'mmvpt.analysis.pictures.attention': 'mmvpt.analysis.pictures',
    'mmvpt.analysis.pictures.class_map': 'mmvpt.analysis.pictures',
    'mmvpt.analysis.pictures.curves': 'mmvpt.analysis.pictures',
    'mmvpt.analysis.pictures.embedding': 'mmvpt.analysis.pictures',
    'mmvpt.analysis.pictures.gates': 'mmvpt.analysis.pictures',
    'mmvpt.analysis.pictures.similarity': 'mmvpt.analysis.pictures',
    'mmvpt.analysis.pictures.style': 'mmvpt.analysis.pictures',
    'mmvpt.bench.groups': 'mmvpt.bench.tables',
    'mmvpt.bench.progress': 'mmvpt.bench.console',
    'mmvpt.bench.published': 'mmvpt.bench.tables',
    'mmvpt.bench.schema': 'mmvpt.bench.records',
    'mmvpt.bench.space_keys': 'mmvpt.bench.space',
    'mmvpt.datasets.whole_image': 'mmvpt.datasets.image_files',
    'mmvpt.engine.class_pass': 'mmvpt.engine.guidance.class_pass',
    'mmvpt.engine.config_mistakes': 'mmvpt.engine.checks',
    'mmvpt.engine.guidance.gathering': 'mmvpt.engine.guidance.hooks',
    'mmvpt.engine.guided': 'mmvpt.engine.forward',
    'mmvpt.engine.hooks.metric_guidance_hook': 'mmvpt.engine.guidance.hooks',
    'mmvpt.engine.hooks.semantic_mapping_hook': 'mmvpt.engine.guidance.hooks',
    'mmvpt.engine.labels': 'mmvpt.engine.guidance.labels',
    'mmvpt.engine.launch': 'mmvpt.engine.run',
    'mmvpt.models.backbones': 'mmvpt.models.vit',
    'mmvpt.models.backbones.mixed_batch': 'mmvpt.models.vit.serving',
    'mmvpt.models.backbones.prefix_cache': 'mmvpt.models.vit.prefix_cache',
    'mmvpt.models.backbones.prompted_layer': 'mmvpt.models.vit.layer',
    'mmvpt.models.backbones.prompted_vit': 'mmvpt.models.vit.vit',
    'mmvpt.models.backbones.static_prompts': 'mmvpt.models.vit.serving',
    'mmvpt.models.clustering': 'mmvpt.engine.guidance.clustering',
    'mmvpt.models.fingerprint': 'mmvpt.checkpoint.fingerprint',
    'mmvpt.protocol': 'mmvpt.bench',
    'mmvpt.sealed': 'mmvpt.files',
    'mmvpt.tuned': 'mmvpt.checkpoint.tuned',
    'mmvpt.zoo.baselines': 'mmvpt.zoo.methods',
    'mmvpt.zoo.field': 'mmvpt.zoo.methods',
    'mmvpt.zoo.gatedvpt': 'mmvpt.zoo.methods',
    'mmvpt.zoo.prompts': 'mmvpt.zoo.methods',
    'mmvpt.zoo.vapt': 'mmvpt.zoo.methods',
    'mmvpt.zoo.vpt': 'mmvpt.zoo.methods',
}


class _Moved(MetaPathFinder, Loader):
    """Finds the module at its new place and says where that is."""

    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name in PLACES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        place = PLACES[spec.name]
        warnings.warn(f'{spec.name} moved to {place}', FutureWarning, stacklevel=2)
        module = import_module(place)
        spec.loader_state = module.__spec__  # import replaces it by the spec it asked
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = module.__spec__.loader_state


def install() -> None:
    """Let the old names be imported."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Moved())
