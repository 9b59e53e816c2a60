# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""TensorFlow 1's resize against its formula, pixel by pixel."""

import math

import cv2
import numpy as np
import pytest

from mmvpt.datasets.transforms import BilinearResize
from mmvpt.errors import UserError


def literal(image, width, height):
    """resize_bilinear with align_corners=False and half_pixel_centers=False."""
    rows, columns, channels = image.shape
    result = np.zeros((height, width, channels))
    for i in range(height):
        for j in range(width):
            y, x = i * rows / height, j * columns / width
            top, left = math.floor(y), math.floor(x)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            for c in range(channels):
                corners = image[[top, top, bottom, bottom], [left, right] * 2, c]
                weights = np.outer([1 - (y - top), y - top], [1 - (x - left), x - left])
                result[i, j, c] = weights.ravel() @ corners.astype(np.float64)
    return result


@pytest.mark.parametrize('size', [(7, 5), (32, 32), (33, 61), (500, 375), (1, 1)])
def test_formula(size):
    columns, rows = size
    rng = np.random.default_rng(columns)
    image = rng.integers(0, 256, (rows, columns, 3), np.uint8)
    results = BilinearResize((24, 18)).transform(dict(img=image))
    assert results['img'].dtype == np.float32
    assert results['img_shape'] == (18, 24)
    # float32: positions up to max(size) are rounded, each off by a slope of up to 255
    atol = 255 * max(size) * 2.0**-23
    np.testing.assert_allclose(results['img'], literal(image, 24, 18), atol=atol)


def test_upsampling_by_two_repeats_the_upper_left():
    """What half-pixel centres would not: [0, 10, 20] -> 0 5 10 15 20 20."""
    image = np.array([[0, 10, 20]], np.uint8)[..., None]
    got = BilinearResize((6, 1)).transform(dict(img=image))['img']
    np.testing.assert_array_equal(got.ravel(), [0, 5, 10, 15, 20, 20])


def test_same_size_keeps_its_values():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    got = BilinearResize((2, 2)).transform(dict(img=image))['img']
    np.testing.assert_array_equal(got, image.astype(np.float32))
    assert got.dtype == np.float32  # as those it is stacked with


def test_other_rule():
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    results = dict(img=image)
    got = BilinearResize((24, 18), half_pixel_centers=True).transform(results)['img']
    expected = cv2.resize(image, (24, 18), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(got, expected)
    assert results['scale_factor'] == (24 / 70, 18 / 50)


@pytest.mark.parametrize('scale', [224, (224,), (0, 3), (2.5, 3)])
def test_scale_is_checked(scale):
    with pytest.raises(UserError, match='width, height'):
        BilinearResize(scale)
