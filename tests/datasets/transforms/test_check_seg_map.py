# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Masks that do not fit are refused with their file's name."""

import cv2
import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from mmvpt.datasets import CheckSegMap
from mmvpt.engine import run as launch

IMAGE = (6, 8)


def load(folder, seg_map, reduce_zero_label=False, num_classes=5, image=IMAGE):
    """Write a mask, load it as mmseg does and check it."""
    cv2.imwrite(str(folder / 'image.png'), np.zeros((*image, 3), np.uint8))
    cv2.imwrite(str(folder / 'mask.png'), seg_map)
    sample = dict(
        img_path=str(folder / 'image.png'),
        seg_map_path=str(folder / 'mask.png'),
        reduce_zero_label=reduce_zero_label,
        seg_fields=[],
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        steps = Compose(
            [
                dict(type='LoadImageFromFile'),
                dict(type='Resize', scale=(16, 12)),  # the mask is that of the file
                dict(type='LoadAnnotations'),
                dict(type='mmvpt.CheckSegMap', num_classes=num_classes),
            ]
        )
    return steps(sample)


def mask(*values, dtype=np.uint8):
    return np.resize(np.array(values, dtype), IMAGE)


@pytest.mark.parametrize(
    ('seg_map', 'reduce_zero_label'),
    [(mask(0, 1, 4), False), (mask(255), False), (mask(0, 1, 5, 255), True)],
)
def test_passes_classes_and_ignored_pixels(seg_map, reduce_zero_label, tmp_path):
    assert load(tmp_path, seg_map, reduce_zero_label)['gt_seg_map'].shape == IMAGE


@pytest.mark.parametrize(
    ('seg_map', 'options', 'message'),
    [
        (
            mask(0, 5, 9),
            {},
            r'mask.png: 32 pixels hold 5, 9, but num_classes=5 allows 0',
        ),
        (mask(254), {}, '48 pixels hold 254'),
        (
            mask(0, 6),
            dict(reduce_zero_label=True),
            r'hold 6, but num_classes=5 allows 1 to 5 \(0 does not count',
        ),
        (mask(*range(5, 20)), {}, 'hold 5, 6, 7, 8, 9, ..., but'),
        (mask(0, 1)[:, :6], {}, r'mask.png: the mask has 6x6 .*image.png has 8x6'),
        # mmseg keeps the low eight bits: 256 and 300 would be classes 0 and 44
        (mask(0, 256, dtype=np.uint16), {}, r'mask.png: the mask has 16 bits'),
        (np.zeros((*IMAGE, 3), np.uint8), {}, 'mask.png: the mask has colours'),
    ],
)
def test_refuses_with_the_name_of_the_file(seg_map, options, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        load(tmp_path, seg_map, **options)
    assert launch.explain(error.value) == str(error.value)  # no traceback for users


def test_arguments():
    for number in (0, 255):
        with pytest.raises(ValueError, match=f'between 1 and 254, got {number}'):
            CheckSegMap(number)
    with pytest.raises(ValueError, match='stands after LoadAnnotations'):
        CheckSegMap(3)(dict(seg_map_path='x.png'))
    assert CheckSegMap(3)(dict(img_path='x.jpg')) == dict(img_path='x.jpg')
    assert repr(CheckSegMap(3)) == 'CheckSegMap(num_classes=3)'
