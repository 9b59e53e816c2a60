# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What a record says of weights, transforms and batches."""

import hashlib

import pytest

from mmvpt.bench import describe_checkpoint, describe_config, get_protocol
from tests.engine import miniature

INIT = 'model__backbone__init_cfg'


def described(**changes):
    config = miniature.config('nowhere', **changes)
    return describe_config(config, get_protocol('vpt'), 'final', [42])


def test_seeds_of_the_run_and_of_the_protocol():
    found = described()
    assert found['seeds'] == [42]
    assert found['protocol_seeds'] == [42, 44, 82, 100, 800]


def test_transforms_with_all_arguments():
    edge = dict(type='ResizeEdge', scale=256, edge='short')
    crop = dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.5, 1.0))
    branches = [[dict(type='RandomFlip', prob=1.0)], [edge]]
    choice = dict(type='RandomChoice', transforms=branches, prob=[0.5, 0.5])
    found = described(train_dataloader__dataset__pipeline=[edge, crop, choice])
    assert found['transforms']['train'] == [
        'ResizeEdge(scale=256, edge=short)',
        'RandomResizedCrop(scale=224, crop_ratio_range=(0.5, 1.0))',
        'RandomChoice(prob=[0.5, 0.5])',
        'RandomFlip(prob=1.0)',
        'ResizeEdge(scale=256, edge=short)',
    ]


def test_images_of_a_step():
    found = described(optim_wrapper__accumulative_counts=4)['train_batch']
    assert found == dict(images_per_step=32, batch_size=8, world_size=1, accumulation=4)
    loop = dict(type='mmvpt.ConvergedProbeLoop', l2=[0.1])  # all images in each step
    assert described(train_cfg=loop)['train_batch']['images_per_step'] is None


@pytest.mark.parametrize('as_list', [False, True])
def test_a_checkpoint_file_has_a_digest(tmp_path, as_list):
    path = tmp_path / 'weights.pth'
    path.write_bytes(b'weights')
    init = dict(type='Pretrained', checkpoint=str(path))
    config = miniature.config('nowhere', **{INIT: [init] if as_list else init})
    digest = hashlib.sha256(b'weights').hexdigest()
    assert describe_checkpoint(config) == dict(name=str(path), sha256=digest)


@pytest.mark.parametrize(
    'name', ['timm://vit_tiny_patch16_224', 'https://example.org/weights.pth']
)
def test_fetched_weights_are_said_to_be_unknown(name):
    init = dict(type='Pretrained', checkpoint=name)
    found = describe_checkpoint(miniature.config('nowhere', **{INIT: init}))
    assert found == dict(name=name, sha256='unknown')
    none = describe_checkpoint(miniature.config('nowhere'))
    assert none == dict(name=None, sha256=None)
