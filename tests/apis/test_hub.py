# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
import torch

from mmvpt.apis.hub import FILE, from_pretrained, push_to_hub, save_pretrained
from mmvpt.errors import UserError

from .local_hub import local_hub


@pytest.fixture(scope='module')
def folder(trained_classifier, tmp_path_factory):
    """Give the folder of a release."""
    return save_pretrained(
        trained_classifier / 'run/epoch_1.pth',
        tmp_path_factory.mktemp('release') / 'colours',
        metrics={'accuracy/top1': 66.7},
        dataset='three colours',
        licence='apache-2.0',
        repo_id='user/colours',
    )


def scores(model):
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    return torch.as_tensor(model.predict(image)[0].scores)


def test_a_folder_gives_the_model_back(folder, trained_classifier):
    weights = trained_classifier / 'vit.pth'
    model = from_pretrained(folder, weights=weights)
    import mmvpt

    expected = mmvpt.load(trained_classifier / 'run/epoch_1.pth', weights=weights)
    assert torch.equal(scores(model), scores(expected))


def test_the_frozen_backbone_is_named_not_copied(folder):
    card = (folder / 'README.md').read_text()
    assert '| backbone |' in card and 'vit.pth' in card
    for text in ('license: apache-2.0', '| accuracy/top1 | 66.7 |', 'three colours'):
        assert text in card
    assert "from_pretrained('user/colours')" in card
    from safetensors import safe_open

    with safe_open(folder / FILE, 'pt') as file:
        names = [*file.keys()]
    assert names and not any('attn.qkv' in name for name in names)


def test_through_a_hub_and_back(folder, trained_classifier, tmp_path, monkeypatch):
    monkeypatch.setenv('HF_HUB_DISABLE_XET', '1')
    weights = trained_classifier / 'vit.pth'
    with local_hub() as (address, files):
        url = push_to_hub(folder, 'user/colours', token='x', endpoint=address)
        assert url.startswith(address)
        assert files[f'user/colours/{FILE}'] == (folder / FILE).read_bytes()
        monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path))
        model = from_pretrained('user/colours', weights=weights, endpoint=address)
        assert torch.equal(
            scores(model), scores(from_pretrained(folder, weights=weights))
        )
        with pytest.raises(UserError, match='user/other is no folder here, and'):
            from_pretrained('user/other', endpoint=address)


def test_what_is_no_release_is_refused(tmp_path):
    with pytest.raises(UserError, match='write it with save_pretrained first'):
        push_to_hub(tmp_path, 'user/colours')
    with pytest.raises(UserError, match='which save_pretrained writes'):
        from_pretrained(tmp_path)
