# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Nothing that was trained is missing from the checkpoint that is tested."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner

from ...checkpoint import CheckpointError
from ...registry import HOOKS


@HOOKS.register_module()
class CompleteWeightsHook(Hook):
    """Refuse a checkpoint that lacks tuned weights or has others in their place.

    mmengine logs such weights and goes on with random ones, which is right for
    ``load_from`` and wrong for a test; ``tools/test.py`` adds this hook.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the checkpoint with the model.

        Args:
            runner: The runner.
            checkpoint: What was read.

        Raises:
            CheckpointError: If a tuned weight is missing or of another shape.
        """
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        state = checkpoint.get('state_dict', checkpoint)
        state = {name.removeprefix('module.'): value for name, value in state.items()}
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
