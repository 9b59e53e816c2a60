# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Files that a download or copy left incomplete."""

import cv2
import numpy as np
import pytest

from mmvpt.datasets.image_files import is_cut_off

NOISE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
FORMS = {
    'jpg': ('.jpg', []),
    'progressive': ('.jpg', [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    'png': ('.png', []),
    'webp': ('.webp', []),
}


def encode(ending, options):
    return cv2.imencode(ending, NOISE, options)[1].tobytes()


@pytest.mark.parametrize('form', FORMS)
def test_whole_and_cut(tmp_path, form):
    content = encode(*FORMS[form])
    path = tmp_path / 'image.bin'  # the name says nothing
    for behind in (b'', b'\0' * 100, b'appended by a camera'):
        path.write_bytes(content + behind)
        assert not is_cut_off(path)
    for share in (0.2, 0.5, 0.99):
        path.write_bytes(content[: int(len(content) * share)])
        assert is_cut_off(path)


def test_end_of_a_thumbnail_does_not_count(tmp_path):
    content = encode(*FORMS['jpg'])
    thumbnail = b'Exif\0\0' + content
    length = (len(thumbnail) + 2).to_bytes(2, 'big')
    content = content[:2] + b'\xff\xe1' + length + thumbnail + content[2:]
    path = tmp_path / 'image.jpg'
    path.write_bytes(content)
    assert cv2.imread(str(path)).shape == NOISE.shape
    assert not is_cut_off(path)
    path.write_bytes(content[:-500])
    assert is_cut_off(path)


def test_other_files_are_left_to_the_decoder(tmp_path):
    path = tmp_path / 'image'
    assert not is_cut_off(path)  # absent, perhaps a URL
    for content in (b'', b'x', encode('.bmp', [])[:500]):
        path.write_bytes(content)
        assert not is_cut_off(path)
    path.write_bytes(b'\xff\xd8')
    assert is_cut_off(path)
