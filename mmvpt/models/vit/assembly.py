# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What the backbone gets when it is built: what trains, and its prompt."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mmvpt.errors import UserError
from mmvpt.models import tunable as tuning
from mmvpt.registry import PROMPTS


def freeze(vit: nn.Module, tunable: str | Sequence[str]) -> None:
    """Freeze all but what ``tunable`` names, and a fresh norm that is to train.

    Raises:
        ValueError: If it names what never gets a gradient, or contradicts the norm.
    """
    tuned = tuning.tune(vit, tunable, vit.num_layers)
    beyond = sorted(
        name
        for name in tuned
        if name.startswith('layers.') and int(name.split('.')[1]) > vit.out_indices[-1]
    )
    if beyond:
        raise UserError(
            f'tunable names {beyond[0]}, but no layer behind out_indices='
            f'{vit.out_indices} runs, so it would never get a gradient. Name '
            'earlier layers or extend out_indices.'
        )
    norm_tuned = any(name.startswith('ln1.') for name in tuned)
    if vit.final_norm_source == 'fresh-trained' and not norm_tuned:
        tuning.unfreeze(vit.ln1)
    elif vit.final_norm_source == 'fresh-frozen' and norm_tuned:
        raise UserError(
            f"final_norm='fresh-frozen' contradicts tunable={tunable!r}, which "
            "names the final norm; use 'fresh-trained' or 'pretrained'."
        )


def build_prompt(
    vit: nn.Module, config: dict | None, patch_size: int
) -> nn.Module | None:
    """Build the prompt of ``vit`` with what it must know of its host.

    Raises:
        ValueError: If it does not fit what the backbone pools and runs.
    """
    if config is None:
        if vit.pooling.startswith('prompts'):
            raise UserError(
                f'pooling={vit.pooling!r} needs prompts, but prompt is None; use '
                "'patches' or 'cls'."
            )
        return None
    prompt = PROMPTS.build(
        dict(config, _scope_='mmvpt'),
        default_args=dict(
            embed_dims=vit.embed_dims,
            num_layers=vit.num_layers,
            patch_grid=tuple(vit.patch_resolution),
            patch_size=patch_size,
            num_heads=vit.arch_settings['num_heads'],
            num_extra_tokens=vit.num_extra_tokens,
        ),
    )
    if vit.pooling.startswith('prompts') and (
        prompt.position != 'sequence' or prompt.companion or prompt.refines
    ):
        raise UserError(
            f'pooling={vit.pooling!r} reads rows at prompts, and {config["type"]} has '
            "none in the sequence; use 'patches' or 'cls'."
        )
    last = vit.out_indices[-1]
    if max([prompt.last_layer, *prompt.guided_layers]) > last:
        raise UserError(
            f'{type(prompt).__name__} has parameters or guided layers up to layer '
            f'{max([prompt.last_layer, *prompt.guided_layers])}, but out_indices='
            f'{vit.out_indices} ends the backbone at layer {last}: they would '
            'never get a gradient. Add the last layer to out_indices, or give an '
            f'arch with num_layers={last + 1}.'
        )
    return prompt
