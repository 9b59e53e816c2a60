# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""A checkpoint that is tested or resumed holds this model, no less and no more."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmvpt.checkpoint import CheckpointError
from mmvpt.checkpoint.fingerprint import MARK
from mmvpt.checkpoint.names import without_prefix
from mmvpt.engine.data_checks import compare_classes
from mmvpt.engine.forward import unwrapped
from mmvpt.registry import HOOKS


@HOOKS.register_module()
class CompleteWeightsHook(Hook):
    """Refuse a checkpoint that lacks tuned weights, or has others or more of them.

    mmengine logs such weights and goes on, with random ones or without prompts. That is
    wrong for a test or when a run is resumed; a new run may take some weights of a
    checkpoint (``load_from``), but not none. What stands before all names, such as
    ``_orig_mod.``, is taken off.
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
        own = model.state_dict()
        state = without_prefix(checkpoint.get('state_dict', checkpoint), own)
        if 'state_dict' in checkpoint:
            checkpoint['state_dict'] = state
        if getattr(runner, '_train_loop', None) is not None and not runner._resume:
            if not own.keys() & state.keys():
                raise CheckpointError(
                    'load_from names a checkpoint of which no weight is one of this '
                    f'model; it holds {", ".join(list(state)[:3])}, ... Frozen weights '
                    'of a backbone alone are given in its init_cfg.'
                )
            return
        self._check_classes(runner, checkpoint)
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
        zero = (
            [m.get('reduce_zero_label') for m in (meta, data.metainfo)] if meta else []
        )
        if None not in zero and len(set(zero)) == 2:
            raise CheckpointError(
                f'the checkpoint was trained with reduce_zero_label={zero[0]}, the '
                f'data set has {zero[1]}: the same value would be another class.'
            )
