# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Masks are read as they were stored, and turned with their images."""

import struct
import zlib

import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image, ImageOps

from mmvpt.datasets import CheckSegMap, LoadSegMap
from mmvpt.errors import UserError


def save_grey(path, values, bits):
    """Write a grey PNG of fewer than eight bits, which Pillow cannot."""
    rows = [
        np.packbits(
            np.unpackbits(row[:, None].astype(np.uint8), axis=1)[:, -bits:]
        ).tobytes()
        for row in values
    ]

    def chunk(kind, data):
        code = struct.pack('>I', zlib.crc32(kind + data))
        return struct.pack('>I', len(data)) + kind + data + code

    height, width = values.shape
    header = struct.pack('>IIBBBBB', width, height, bits, 0, 0, 0, 0)
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(b''.join(b'\0' + row for row in rows)))
        + chunk(b'IEND', b'')
    )


@pytest.mark.parametrize('bits', [1, 2, 4])
@pytest.mark.parametrize('reduce', [False, True])
def test_fewer_bits_keep_their_numbers(tmp_path, bits, reduce):
    values = np.arange(48, dtype=np.uint8).reshape(6, 8) % 2**bits
    save_grey(tmp_path / 'm.png', values, bits)
    sample = dict(seg_map_path=str(tmp_path / 'm.png'), reduce_zero_label=reduce)
    found = LoadSegMap()(dict(sample))['gt_seg_map']
    assert np.array_equal(found, values - 1 if reduce else values)  # 0 becomes 255
    if bits > 1:
        with pytest.raises(UserError, match=f'has {bits} bits.*LoadSegMap'):
            CheckSegMap(200)(dict(sample, gt_seg_map=found * 17, ori_shape=(6, 8)))


@pytest.mark.parametrize('reduce', [False, True])
@pytest.mark.parametrize('label_map', [None, {1: 0, 2: 255, 0: 1}])
def test_same_as_mmseg_for_eight_bits(tmp_path, reduce, label_map):
    values = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / 'm.png')
    steps = [dict(type='LoadAnnotations'), dict(type='mmvpt.LoadSegMap')]
    found = []
    with DefaultScope.overwrite_default_scope('mmseg'):
        for step in steps:
            sample = dict(seg_map_path=str(tmp_path / 'm.png'), seg_fields=[])
            sample.update(reduce_zero_label=reduce, label_map=label_map)
            found.append(Compose([step])(sample))
    assert np.array_equal(found[0]['gt_seg_map'], found[1]['gt_seg_map'])
    assert found[0]['seg_fields'] == found[1]['seg_fields'] == ['gt_seg_map']


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('drawn_on', ['shown', 'stored'])
def test_image_and_mask_are_turned_alike(tmp_path, orientation, drawn_on):
    stored = np.zeros((16, 24), np.uint8)
    stored[:5, :9] = 1
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(stored * 200).convert('RGB').save(
        tmp_path / 'i.jpg', exif=exif, quality=98
    )
    with Image.open(tmp_path / 'i.jpg') as file:
        shown = (np.asarray(ImageOps.exif_transpose(file).convert('L')) > 100) * 1
    mask = shown if drawn_on == 'shown' else stored
    Image.fromarray(mask.astype(np.uint8)).save(tmp_path / 'm.png')
    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='mmvpt.LoadSegMap', drawn_on=drawn_on),
        dict(type='mmvpt.CheckSegMap', num_classes=2),
    ]
    sample = dict(
        img_path=str(tmp_path / 'i.jpg'), seg_map_path=str(tmp_path / 'm.png')
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        found = Compose(steps)(sample)
    agree = (found['img'].mean(axis=2) > 100) == found['gt_seg_map']
    assert agree.mean() > 0.98


def test_mask_with_an_orientation_of_its_own(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(values).save(tmp_path / 'm.png', exif=exif)
    found = LoadSegMap()(dict(seg_map_path=str(tmp_path / 'm.png')))['gt_seg_map']
    assert np.array_equal(found, np.rot90(values, -1))
    sample = dict(seg_map_path=str(tmp_path / 'm.png'), gt_seg_map=values)
    with pytest.raises(UserError, match='EXIF orientation'):
        CheckSegMap(20)(dict(sample, ori_shape=(3, 4)))


@pytest.mark.parametrize(
    ('name', 'mode', 'message'),
    [
        ('m.jpg', 'L', 'JPEG'),
        ('m.png', 'RGB', 'colours'),
        ('m.png', 'RGBA', 'colours'),
        ('m.png', 'LA', 'alpha'),
        ('m.png', 'I;16', '16 bits'),
        ('m.tif', 'F', '32 bits'),
    ],
)
def test_what_holds_no_indices_is_refused(tmp_path, name, mode, message):
    Image.new(mode, (4, 4)).save(tmp_path / name)
    with pytest.raises(UserError, match=f'{name}.*{message}'):
        LoadSegMap()(dict(seg_map_path=str(tmp_path / name)))


def test_other_value_of_pixels_that_do_not_count(tmp_path):
    values = np.array([[0, 1, 254], [2, 1, 0]], np.uint8)
    Image.fromarray(values).save(tmp_path / 'm.png')
    sample = dict(seg_map_path=str(tmp_path / 'm.png'), ori_shape=(2, 3))
    loaded = LoadSegMap()(dict(sample))
    with pytest.raises(UserError, match='254.*ignore_index'):
        CheckSegMap(3)(dict(loaded))
    assert CheckSegMap(3, ignore_index=254)(dict(loaded))
    with pytest.raises(UserError, match='between num_classes=3 and 255, got 2'):
        CheckSegMap(3, ignore_index=2)


def test_arguments():
    with pytest.raises(UserError, match="'shown', 'stored'.*got 'seen'"):
        LoadSegMap(drawn_on='seen')
    assert LoadSegMap()(dict(img_path='x.jpg')) == dict(img_path='x.jpg')
