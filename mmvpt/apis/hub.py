# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Tuned releases on the Hugging Face hub, or in folders of the same layout.

A folder holds the release, ``mmvpt.safetensors`` of a few megabytes, and its model
card, ``README.md``. The frozen backbone is named, not copied.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmvpt.checkpoint.tuned import TunedCheckpoint, read_tuned
from mmvpt.errors import UserError, needed
from mmvpt.files import write_whole

from .load import load
from .release import publish
from .tuned_model import TunedModel

FILE = 'mmvpt.safetensors'
CARD = """---
{header}
---

# {name}

Tuned with mmvpt: visual prompts on a frozen Vision Transformer. The frozen weights are
not part of this file.

| | |
|---|---|
{rows}

```python
from mmvpt.apis.hub import from_pretrained

model = from_pretrained('{name}')  # weights=... if the backbone moved
print(model.predict(['photo.jpg'])[0])
```
"""


def save_pretrained(
    checkpoint: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    config: str | os.PathLike | None = None,
    metrics: Mapping[str, float] | None = None,
    dataset: str | None = None,
    licence: str | None = None,
    repo_id: str | None = None,
) -> Path:
    """Write a release and its model card into a folder; return it.

    Args:
        checkpoint: A checkpoint of training or a release.
        folder: Made if it does not exist; an earlier release in it is replaced.
        config: Its config, for a checkpoint that has none in it.
        metrics: Figures for the card, such as ``{'accuracy/top1': 91.2}``.
        dataset: What it was tuned on, for the card.
        licence: Of the tuned weights, as the hub names it (``apache-2.0``).
        repo_id: ``OWNER/NAME`` that the card's example names, by default the folder.

    Raises:
        UserError: If the checkpoint is not one of the config.
    """
    folder = Path(folder)
    with tempfile.TemporaryDirectory() as aside:
        release = publish(checkpoint, Path(aside) / 'release', config)
        tuned = read_tuned(release)
        card = model_card(
            tuned,
            repo_id or folder.name,
            metrics=metrics,
            dataset=dataset,
            licence=licence,
        )
        write_whole(folder / FILE, release.read_bytes())
    write_whole(folder / 'README.md', card.encode())
    return folder


def push_to_hub(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    private: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Upload what :func:`save_pretrained` wrote; return the address of the commit.

    Args:
        folder: The folder.
        repo_id: ``OWNER/NAME``; made if it does not exist.
        private: Whether a new repository is private.
        token: Of the hub; by default the one of ``hf auth login``.
        endpoint: Address of another hub.

    Raises:
        UserError: If the folder holds no release, or huggingface_hub is missing.
    """
    folder = Path(folder)
    if not (folder / FILE).is_file():
        raise UserError(f'{folder} has no {FILE}: write it with save_pretrained first.')
    api = _hub().HfApi(endpoint=endpoint, token=token)
    api.create_repo(repo_id, private=private, exist_ok=True)
    commit = api.upload_folder(
        repo_id=repo_id,
        folder_path=folder,
        allow_patterns=[FILE, 'README.md'],
        commit_message='Upload a tuned release of mmvpt',
    )
    return str(commit.commit_url)


def from_pretrained(
    name: str | os.PathLike,
    *,
    weights: str | os.PathLike | None = None,
    revision: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    **options: Any,
) -> TunedModel:
    """Load a release from the hub or a folder, ready to predict.

    Args:
        name: A folder, or ``OWNER/NAME`` on the hub; what is a folder is read as one.
        weights: The frozen weights, by default what the release names.
        revision: Branch, tag or commit on the hub.
        token: Of the hub, for private repositories.
        endpoint: Address of another hub.
        **options: Those of :func:`mmvpt.load`.

    Raises:
        UserError: If there is no release at ``name``.
    """
    path = Path(name) / FILE
    if not Path(name).is_dir():
        hub = _hub()
        try:
            path = hub.hf_hub_download(
                os.fspath(name), FILE, revision=revision, token=token, endpoint=endpoint
            )
        except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError, OSError) as e:
            raise UserError(
                f'{name} is no folder here, and the hub gave no {FILE} of it: {e}'
            ) from e
    elif not path.is_file():
        raise UserError(f'{name} has no {FILE}, which save_pretrained writes.')
    return load(path, weights=weights, **options)


def model_card(
    tuned: TunedCheckpoint,
    name: str,
    *,
    metrics: Mapping[str, float] | None = None,
    dataset: str | None = None,
    licence: str | None = None,
) -> str:
    """Return the model card of a release, Markdown with the hub's header.

    Args:
        tuned: The release.
        name: Its name on the hub.
        metrics: Figures on the data.
        dataset: What it was tuned on.
        licence: Of the tuned weights.
    """
    config = tuned.build_config()
    backbone = config.model.backbone
    base = (backbone.get('init_cfg') or {}).get('checkpoint', 'not named')
    prompt = (backbone.get('prompt') or {}).get('type', 'none').removeprefix('mmvpt.')
    segments = 'decode_head' in config.model
    count = sum(value.numel() for value in tuned.state.values())
    header = {
        'library_name': 'mmvpt',
        'pipeline_tag': 'image-segmentation' if segments else 'image-classification',
        'license': licence,
        'tags': '[mmvpt, visual-prompt-tuning]',
    }
    rows = {
        'method': prompt,
        'backbone': f'`{backbone.arch}`, frozen: `{base}`',
        'tuned numbers': f'{count:,}',
        'classes': len(tuned.classes) if tuned.classes else 'unknown',
        'data': dataset or 'not stated',
        **{name: f'{value:g}' for name, value in (metrics or {}).items()},
    }
    return CARD.format(
        header='\n'.join(f'{k}: {value}' for k, value in header.items() if value),
        name=name,
        rows='\n'.join(f'| {key} | {value} |' for key, value in rows.items()),
    )


def _hub():
    with needed(
        'The hub needs huggingface_hub: pip install huggingface_hub. A folder on '
        'this machine needs nothing.'
    ):
        import huggingface_hub
        import huggingface_hub.errors
    return huggingface_hub
