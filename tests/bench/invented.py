# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""An invented record."""

import copy

from mmvpt.bench import get_protocol

_PART = dict(images=9, sha256='0' * 64)
_VPT = get_protocol('vpt')
_RECORD = dict(
    format='mmvpt-record',
    version=1,
    kind='run',
    suite='vtab',
    task='vtab-dtd',
    group='natural',
    method='vpt-deep',
    backbone='in21k',
    config='configs/vpt/vpt-deep_vit-base-p16_in21k_vtab-dtd.py',
    metric='accuracy/top1',
    protocol=dict(
        name='vpt',
        summary=_VPT.summary,
        leak_free=True,
        label='',
        selection='last',
        train_split='train800val200',
        search_splits=None,
        seeds=[42, 44],
        test_reads='once',
        checkpoint=dict(name='mmvpt://vit-base-p16_in21k', sha256='1' * 64),
        normalisation=dict(mean=[123.675, 116.28, 103.53]),
        transforms=dict(train=['Resize(scale=(224, 224))']),
    ),
    data=dict(
        train=_PART,
        val=None,
        test=_PART,
        overlaps=dict(train_test=0, val_test=0, train_val=0),
        duplicates=0,
        accepted_duplicates=0,
    ),
    code=dict(version='0.1.0', commit=None, modified=None, packages=dict(torch='2')),
    measured=dict(seconds=60.0, peak_memory=2**30, device='cpu', finished='2026'),
    seed=42,
    fingerprint='abc',
    overrides={'optim_wrapper.optimizer.lr': 1.0},
    settings={'optim_wrapper.optimizer.lr': 1.0},
    metrics=dict(val=None, test={'accuracy/top1': 66.0}),
    tuned_parameters=128303,
    head_parameters=36143,
    total_parameters=85926959,
)


def record(**changes):
    """Return a record; changed keys have ``__`` for the dot."""
    made = copy.deepcopy(_RECORD)
    for key, value in changes.items():
        *parents, last = key.split('__')
        place = made
        for parent in parents:
            place = place[parent]
        place[last] = value
    return made
