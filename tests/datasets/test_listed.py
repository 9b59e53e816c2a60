# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What VTAB1k and FGVC share, tested through own tasks."""

import logging
import shutil

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from mmvpt.datasets import VTAB1k
from tests.miniatures import make_vtab1k

LOAD = dict(type='LoadImageFromFile')


class EditInPlace:
    """A transform that ruins whatever array it is given."""

    def __call__(self, results):
        results['img'] += 7
        results['img'][0] = 0
        return results


@pytest.fixture
def folder(tmp_path):
    return make_vtab1k(tmp_path / 'own', None, num_classes=4)


def own(folder, **kwargs):
    kwargs = dict(split='train800', pipeline=[LOAD]) | kwargs
    return VTAB1k(None, data_root=folder, **kwargs)


def numpy_samples(dataset, **kwargs):
    loader = DataLoader(dataset, batch_size=3, collate_fn=list, **kwargs)
    return [sample for batch in loader for sample in batch]


def assert_same(got, expected):
    assert len(got) == len(expected) > 0
    for a, b in zip(got, expected):
        assert list(a) == list(b)
        for key in b:
            np.testing.assert_array_equal(a[key], b[key])
        assert a['img'].dtype == b['img'].dtype


@pytest.mark.parametrize('num_workers', [0, 2])
def test_cached_samples_are_identical(folder, num_workers):
    steps = [LOAD, dict(type='Resize', scale=(20, 24)), EditInPlace()]
    plain = own(folder, pipeline=steps)
    cached = own(folder, pipeline=steps, cache_images=True)
    expected = numpy_samples(plain)
    for _ in range(2):  # the second pass would see a damaged cache
        assert_same(numpy_samples(cached, num_workers=num_workers), expected)


def test_editing_the_loaded_image_cannot_damage_the_cache(folder):
    cached = own(folder, pipeline=[LOAD, EditInPlace()], cache_images=True)
    first = cached[0]['img'].copy()
    np.testing.assert_array_equal(cached[0]['img'], first)
    held = cached[1]
    held['img'][:] = 0
    assert cached[1]['img'].any()


def test_cache_is_decoded_once(folder, caplog):
    with caplog.at_level(logging.INFO, logger='mmengine'):
        cached = own(folder, cache_images=True)
    expected = numpy_samples(own(folder))
    shutil.rmtree(folder / 'images')
    assert_same(numpy_samples(cached), expected)


def test_cache_size_is_logged(folder, monkeypatch):
    lines = []
    from mmengine.logging import MMLogger

    monkeypatch.setattr(MMLogger.get_current_instance(), 'info', lines.append)
    own(folder, cache_images=True)
    assert '4 decoded images' in lines[-1] and 'MiB' in lines[-1]


def test_subset_of_a_cached_dataset_keeps_its_images(folder):
    subset = own(folder, cache_images=True).get_subset([2, 3])
    assert_same([subset[0]], [{**own(folder)[2], 'sample_idx': 0}])


@pytest.mark.parametrize(
    ('pipeline', 'message'),
    [
        ([], 'got nothing'),
        ([EditInPlace(), LOAD], 'got EditInPlace'),
        ([dict(LOAD, to_float32=True)], 'to_float32'),
    ],
)
def test_cache_needs_the_loader_first(folder, pipeline, message):
    with pytest.raises(ValueError, match=message):
        own(folder, pipeline=pipeline, cache_images=True)


NAMED = 'Cannot decode image .*00002.png'


@pytest.mark.parametrize('cache_images', [False, True])
@pytest.mark.parametrize('content', [b'', b'no image at all', b'\x89PNG\r\n\x1a\n'])
@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_broken_image_is_named(folder, content, cache_images, backend):
    path = folder / 'images/train800/00002.png'
    path.write_bytes(content)
    message = 'Image .*00002.png.* is cut off' if content[:4] == b'\x89PNG' else NAMED
    with pytest.raises(ValueError, match=message):
        own(
            folder,
            cache_images=cache_images,
            pipeline=[dict(LOAD, imdecode_backend=backend)],
        )[2]


def test_broken_image_is_named_from_a_worker(folder):
    (folder / 'images/train800/00002.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match=NAMED):
        numpy_samples(own(folder), num_workers=1)


def test_ignoring_broken_images_is_the_loaders_choice(folder):
    (folder / 'images/train800/00002.png').write_bytes(b'')
    kwargs = dict(pipeline=[dict(LOAD, ignore_empty=True)], test_mode=True)
    for cache_images in (False, True):
        dataset = own(folder, cache_images=cache_images, **kwargs)
        assert dataset[1]['img'].shape == (32, 40, 3)
        with pytest.raises(Exception, match='should not get `None`'):
            dataset[2]


@pytest.mark.parametrize('cache_images', [False, True])
def test_every_kind_of_image_has_three_channels(tmp_path, cache_images):
    grey = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    colour = np.stack([grey, 255 - grey, grey // 2], -1)  # RGB
    alpha = np.full_like(grey, 128)
    Image.fromarray(grey).save(tmp_path / 'grey.png')
    Image.fromarray(np.dstack([colour, alpha])).save(tmp_path / 'rgba.png')
    Image.fromarray(colour).quantize(24).save(tmp_path / 'palette.png')
    cv2.imwrite(str(tmp_path / 'deep.png'), grey.astype(np.uint16) * 257)
    Image.fromarray(grey > 100).save(tmp_path / 'binary.png')
    names = ['grey.png', 'rgba.png', 'palette.png', 'deep.png', 'binary.png']
    (tmp_path / 'all.txt').write_text(''.join(f'{name} 0\n' for name in names))
    dataset = own(tmp_path, split='all', num_classes=1, cache_images=cache_images)
    images = {name: dataset[i]['img'] for i, name in enumerate(names)}
    for image in images.values():
        assert image.shape == (4, 6, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(images['grey.png'], np.dstack([grey] * 3))
    np.testing.assert_array_equal(images['rgba.png'], colour[..., ::-1])
    np.testing.assert_array_equal(images['palette.png'], colour[..., ::-1])
    np.testing.assert_array_equal(images['deep.png'], np.dstack([grey] * 3))


def test_missing_images_are_counted_and_shown(folder):
    shutil.rmtree(folder / 'images/train800')
    with pytest.raises(FileNotFoundError) as error:
        own(folder)
    text = str(error.value)
    assert '4 listed images do not exist' in text
    assert 'train800.txt, line 1: ' in text and '00002.png' in text
    assert '00003.jpg' not in text


def test_one_missing_image_of_many(folder):
    (folder / 'images/train800/00001.jpg').unlink()
    with pytest.raises(FileNotFoundError, match='1 listed images.*\n.*line 2: .*00001'):
        own(folder)


@pytest.mark.parametrize('label', [-1, 4])
def test_label_out_of_range(folder, label):
    with open(folder / 'train800.txt', 'a') as file:
        file.write(f'images/train800/00000.png {label}\n')
    with pytest.raises(
        ValueError, match=rf'train800.txt, line 5: label {label} .*0\.\.3'
    ):
        own(folder)


def test_lazy_init_knows_the_classes(folder):
    dataset = own(folder, lazy_init=True)
    (folder / 'train800.txt').unlink()
    assert dataset.metainfo['classes'] == ('class 0', 'class 1', 'class 2', 'class 3')
    assert dataset.num_classes == 4
    with pytest.raises(FileNotFoundError, match='train800.txt'):
        dataset.full_init()


def test_sources_of_class_names(folder, tmp_path):
    names = ['a', 'b', 'c', 'd']
    (tmp_path / 'names').write_text('\n'.join(names))
    for kwargs in (
        dict(classes=names),
        dict(classes=str(tmp_path / 'names')),
        dict(metainfo=dict(classes=names)),
    ):
        assert own(folder, **kwargs).metainfo['classes'] == tuple(names)
    (folder / 'classes.txt').unlink()
    assert own(folder, num_classes=4).metainfo['classes'] == ('0', '1', '2', '3')


def test_class_names_that_cannot_be(folder, tmp_path):
    with pytest.raises(ValueError, match='classes.txt has 4 class names, .* 5 classes'):
        own(folder, num_classes=5)
    with pytest.raises(FileNotFoundError, match='nowhere'):
        own(folder, classes=str(tmp_path / 'nowhere'))
    with pytest.raises(ValueError, match='holds no class name'):
        own(folder, classes=[])
    (folder / 'classes.txt').unlink()
    with pytest.raises(ValueError, match='unknown. Give num_classes='):
        own(folder)
    with pytest.raises(ValueError, match='at least 1, got 0'):
        own(folder, num_classes=0)


def test_unknown_argument_is_an_error(folder):
    with pytest.raises(TypeError, match='cache_image'):
        own(folder, cache_image=True)


def test_indices_select_images(folder):
    dataset = own(folder, indices=[3, 0], cache_images=True)
    assert dataset.get_gt_labels().tolist() == [3, 0]


def test_repr(folder):
    text = repr(own(folder, cache_images=True))
    assert 'train800' in text and 'Cached images: \t4' in text


def test_pack_inputs(folder):
    steps = [LOAD, dict(type='PackInputs')]
    sample = own(folder, pipeline=steps, cache_images=True)[1]
    assert sample['inputs'].shape == (3, 32, 40)
    assert sample['inputs'].dtype == torch.uint8
    assert sample['data_samples'].gt_label.tolist() == [1]
