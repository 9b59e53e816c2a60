# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Weights from the Hugging Face hub, by ``hf://ORG/NAME``."""

from __future__ import annotations

import re
from pathlib import Path

from mmvpt.checkpoint import CheckpointError
from mmvpt.errors import needed

HUB_PREFIX = 'hf://'
_NAME = re.compile(r'hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?')
_SMALL_FILES = ['config.json', 'preprocessor_config.json', '*.index.json']


def fetch(name: str) -> Path:
    """Return the folder that huggingface_hub caches a model in.

    Raises:
        CheckpointError: If the name is none, huggingface_hub is not installed, or it
            cannot get the model.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise CheckpointError(
            f'{name} is no model of Hugging Face: write hf://ORG/NAME, such as '
            'hf://facebook/dinov2-base.'
        )
    message = f'{name} needs huggingface_hub: pip install huggingface_hub'
    with needed(message, CheckpointError):
        from huggingface_hub import snapshot_download
    try:
        for weights in ('*.safetensors', '*.bin'):
            folder = Path(
                snapshot_download(
                    match[1], revision=match[2], allow_patterns=[*_SMALL_FILES, weights]
                )
            )
            if any(folder.glob(weights)):
                break
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise CheckpointError(
            f'huggingface_hub could not provide {name}: {str(error).splitlines()[0]} '
            'Gated models (DINOv3) need their licence accepted on the website and a '
            'login (`hf auth login`). Without network, download the folder elsewhere '
            'and give its path.'
        ) from error
    return folder
