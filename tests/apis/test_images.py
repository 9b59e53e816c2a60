# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Images of every kind are read as the training loader reads them, or named."""

import struct
import zlib

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image

from mmvpt.apis.images import (
    ImageError,
    Source,
    as_bgr,
    check_file,
    find_images,
)

SIZE = (24, 16)  # width, height


def photo():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)


def write(path, kind):
    """Write an image of a kind and return what a viewer shows, RGB."""
    image = photo()
    exif = Image.Exif()
    if kind.startswith('exif'):
        exif[0x0112] = 6  # turn by 90 degrees
        image.save(path, exif=exif, quality=95)
        shown = Image.open(path).convert('RGB').transpose(Image.Transpose.ROTATE_270)
        return np.asarray(shown)
    if kind in ('g16.png', 'g16.tif'):
        values = np.linspace(0, 65535, 24 * 16).reshape(16, 24).astype(np.uint16)
        assert cv2.imwrite(str(path), values)
        return np.stack([values >> 8] * 3, axis=-1).astype(np.uint8)
    if kind == 'rgb16.png':
        assert cv2.imwrite(str(path), np.asarray(image).astype(np.uint16) * 257)
        return np.asarray(image)[..., ::-1]
    mode = kind.split('.')[0]
    image = image.convert({'one': '1'}.get(mode, mode))
    if mode == 'RGBA':
        image.putalpha(100)
    image.save(path, **(dict(quality=95) if path.suffix == '.jpg' else {}))
    return np.asarray(Image.open(path).convert('RGB'))


KINDS = (
    *('RGB.png', 'RGB.jpg', 'RGB.bmp', 'RGB.tif', 'RGBA.png', 'L.png', 'L.jpg'),
    *('LA.png', 'P.png', 'P.gif', 'one.png', 'CMYK.tif', 'CMYK.jpg'),
    *('g16.png', 'g16.tif', 'rgb16.png', 'exif.jpg', 'exif.png'),
    *('RGBA.tif', 'LAB.tif', 'RGB.tga', 'RGBA.webp', 'RGB.webp'),
)


@pytest.mark.parametrize('kind', KINDS)
def test_kinds(tmp_path, kind):
    path = tmp_path / f'image.{kind.split(".")[1]}'
    shown = write(path, kind)
    loaded = check_file(path)
    assert (loaded is None) == (kind not in ('P.gif', 'RGBA.tif', 'LAB.tif', 'RGB.tga'))
    if loaded is None:
        loaded = mmcv.imfrombytes(path.read_bytes())
    loaded = loaded[..., ::-1]
    # The two libraries round CMYK of JPEG differently.
    most = 3 if kind == 'CMYK.jpg' else 0
    assert loaded.shape == shown.shape
    assert np.abs(loaded.astype(int) - shown).max() <= most
    if kind != 'rgb16.png':  # Pillow cuts it to 8 bits itself
        ours = as_bgr(Source('x', Image.open(path)))[..., ::-1]
        assert np.array_equal(ours, shown)


def png_header(width, height):
    """Return a PNG of a few bytes that claims to be large."""

    def chunk(name, data):
        check = struct.pack('>I', zlib.crc32(name + data))
        return struct.pack('>I', len(data)) + name + data + check

    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', head)
        + chunk(b'IDAT', body)
        + chunk(b'IEND', b'')
    )


def broken(path):
    """Write files that are no readable image; return why, by name."""
    photo().save(path / 'whole.jpg', quality=95)
    photo().save(path / 'whole.png')
    for name in ('whole.jpg', 'whole.png'):
        content = (path / name).read_bytes()
        (path / name.replace('whole', 'cut')).write_bytes(
            content[: len(content) * 9 // 10]
        )
        (path / name).unlink()
    (path / 'notes.txt').write_text('no image')
    (path / 'notes.jpg').write_text('no image')
    (path / 'empty.png').write_bytes(b'')
    (path / 'bomb.png').write_bytes(png_header(50_000, 40_000))
    (path / 'large.png').write_bytes(png_header(13_378, 13_378))
    Image.fromarray(np.zeros((4, 4), np.float32)).save(path / 'float.tif')
    Image.new('RGB', (1, 600)).save(path / 'thread.png')
    return {
        'cut.jpg': 'is damaged',
        'cut.png': 'is damaged',
        'notes.txt': 'is not an image',
        'notes.jpg': 'is not an image',
        'empty.png': '0 bytes',
        'bomb.png': 'was not read',
        'large.png': 'was not read',
        'float.tif': '32-bit values',
        'thread.png': 'differ by more than a factor of 500',
    }


def test_large_images_are_named_whatever_pillow_allows(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', None)
    path = tmp_path / 'large.png'
    path.write_bytes(png_header(13_378, 13_378))
    with pytest.raises(ImageError, match='claims 13378 x 13378 pixels and was not'):
        check_file(path)


def test_broken_files_are_named(tmp_path):
    for name, why in broken(tmp_path).items():
        with pytest.raises(ImageError, match=why) as error:
            check_file(tmp_path / name)
        assert name in str(error.value)


def test_mutated_files_are_read_or_named(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ('RGB.jpg', 'P.png', 'P.gif', 'g16.tif', 'RGB.bmp'):
        path = tmp_path / kind
        write(path, kind)
        content = path.read_bytes()
        for _ in range(60):
            changed = bytearray(content)
            for place in rng.integers(0, len(content), 3):
                changed[place] = rng.integers(256)
            path.write_bytes(bytes(changed))
            try:
                check_file(path)
            except ImageError as error:
                assert kind in str(error)


def test_arrays():
    rgb = np.asarray(photo())
    assert np.array_equal(as_bgr(Source('x', rgb)), rgb[..., ::-1])
    assert np.array_equal(as_bgr(Source('x', rgb), 'bgr'), rgb)
    grey = as_bgr(Source('x', rgb[..., 0]))
    assert np.array_equal(grey, rgb[..., [0, 0, 0]])
    deep = as_bgr(Source('x', rgb.astype(np.uint16) * 257))
    assert np.array_equal(deep, rgb[..., ::-1])
    for wrong in (rgb / 255, rgb.astype(int), rgb[None], rgb[..., :2], rgb[:0]):
        with pytest.raises(ImageError, match='x has'):
            as_bgr(Source('x', wrong))


def test_folders_and_lists(tmp_path):
    (tmp_path / 'a b' / '.hidden').mkdir(parents=True)
    for name in ('a b/ü.png', 'x.png', 'a b/.hidden/y.png', '.z.png'):
        photo().save(tmp_path / name)
    found = find_images(tmp_path)
    assert [source.name for source in found] == ['a b/ü.png', 'x.png']
    found = find_images([tmp_path / 'x.png', photo(), np.zeros((2, 2))])
    assert [source.name for source in found] == [
        str(tmp_path / 'x.png'),
        'image 1',
        'image 2',
    ]
    with pytest.raises(FileNotFoundError, match='nowhere'):
        find_images(tmp_path / 'nowhere')
    for wrong in (3, [None]):
        with pytest.raises(ValueError, match='expected a path'):
            find_images(wrong)
