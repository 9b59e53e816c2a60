# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A checkpoint that is tested or resumed holds this model, no less and no more."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmvpt.checkpoint import CheckpointError
from mmvpt.checkpoint.fingerprint import MARK
from mmvpt.engine.data_checks import compare_classes
from mmvpt.engine.forward import unwrapped
from mmvpt.registry import HOOKS


@HOOKS.register_module()
class CompleteWeightsHook(Hook):
    """Refuse a checkpoint that lacks tuned weights, or has others or more of them.

    mmengine logs such weights and goes on, with random ones or without prompts. That is
    right for ``load_from`` and wrong for a test or when a run is resumed;
    ``tools/test.py`` and ``tools/train.py --resume`` add this hook.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the checkpoint with the model."""
        model = unwrapped(runner.model)
        if runner._resume and 'epoch' not in checkpoint.get('meta', {}):
            raise CheckpointError(
                'there is nothing to resume in this checkpoint: it holds weights, but '
                'no position in training and no optimizer. Start from it with '
                '--cfg-options load_from=FILE.'
            )
        state = checkpoint.get('state_dict', checkpoint)
        state = {name.removeprefix('module.'): value for name, value in state.items()}
        self._check_classes(runner, checkpoint)
        own = model.state_dict()
        unknown = [
            name
            for name in state
            if name.startswith('backbone.')
            and name not in own
            and not name.endswith(f'.{MARK}')
        ]
        if unknown:
            raise CheckpointError(
                f'the checkpoint holds {", ".join(unknown[:3])}'
                f'{" ..." * (len(unknown) > 3)}, which the model of this config lacks. '
                'Give the config it was trained with (prompt, tunable, depth).'
            )
        for name, parameter in model.named_parameters():
            if name not in state:
                if parameter.requires_grad:
                    raise CheckpointError(
                        f'the checkpoint lacks {name}, which this config tunes, so it '
                        'was not made by this config. Give the config it was trained '
                        'with.'
                    )
            elif state[name].shape != parameter.shape:
                raise CheckpointError(
                    f'{name} is {tuple(state[name].shape)} in the checkpoint and '
                    f'{tuple(parameter.shape)} in the model. Give the config it was '
                    'trained with (number of classes, width, prompts).'
                )

    @staticmethod
    def _check_classes(runner: Runner, checkpoint: dict) -> None:
        """Compare the classes in the checkpoint with those of the data."""
        loops = (getattr(runner, f'_{name}_loop', None) for name in ('train', 'test'))
        loop = next(filter(None, loops), None)
        data = getattr(getattr(loop, 'dataloader', None), 'dataset', None)
        classes = (getattr(data, 'metainfo', None) or {}).get('classes')
        meta = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
        if classes and meta.get('classes'):
            known = list(map(str, meta['classes']))
            own = list(map(str, classes))
            compare_classes(known, own, 'the checkpoint', 'the data set')
