# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
from PIL import Image

from mmvpt.datasets import ImagesWithMasks
from mmvpt.datasets.own import Part, find_pairs, find_parts, palette_of, read_masks
from mmvpt.errors import UserError
from tests.datasets.own.pictures import pairs, picture


def read(root, **options):
    found = find_pairs(find_parts(root))
    return found, read_masks(found, **options)


def save_mask(root, image):
    image.save(root / 'masks' / '0.png')


def test_values_are_classes(tmp_path):
    pairs(tmp_path, 4, values=(1, 3, 255))
    found, classes = read(tmp_path)
    assert classes == ['0', '1', '2', '3']
    assert found.classes == {'0': [0, 1], '1': [0, 3], '2': [0], '3': [0, 1]}
    assert (found.image_suffix, found.mask_suffix) == ('.jpg', '.png')
    assert found.notes == ['no mask shows 2 (1 classes).']


def test_zero_that_does_not_count(tmp_path):
    pairs(tmp_path, 2, values=(1, 2))
    found, classes = read(tmp_path, ignore_zero=True)
    assert classes == ['1', '2']
    assert found.classes == {'0': [0], '1': [1]}


def test_split_folders_like_ade20k(tmp_path):
    for split in ('training', 'validation'):
        folders = (f'images/{split}', f'annotations/{split}')
        pairs(tmp_path, 2, folders=folders)
    found = find_pairs(find_parts(tmp_path))
    assert found.splits == {
        **{f'training/{i}': 'train' for i in range(2)},
        **{f'validation/{i}': 'val' for i in range(2)},
    }
    picture(tmp_path / 'images' / 'x.jpg')
    Image.new('L', (12, 10)).save(tmp_path / 'annotations' / 'x.png')
    with pytest.raises(UserError, match='1 images lie elsewhere'):
        find_pairs(find_parts(tmp_path))


def test_folders(tmp_path):
    pairs(tmp_path, 1, folders=('pictures', 'drawn'))
    assert find_parts(tmp_path) is None
    found = find_parts(tmp_path / 'pictures', tmp_path / 'drawn')
    assert found == [Part(None, tmp_path / 'pictures', tmp_path / 'drawn')]
    with pytest.raises(UserError, match='of the masks does not exist'):
        find_parts(tmp_path / 'pictures', tmp_path / 'no')
    (tmp_path / 'only' / 'masks').mkdir(parents=True)
    with pytest.raises(UserError, match='no folder of images'):
        find_parts(tmp_path / 'only')


def test_pairs_that_do_not_match(tmp_path):
    pairs(tmp_path, 2)
    picture(tmp_path / 'images' / 'new.jpg')
    with pytest.raises(UserError, match=r'1 images have no mask(.|\n)*new.jpg'):
        read(tmp_path)
    (tmp_path / 'images' / 'new.jpg').unlink()
    (tmp_path / 'images' / '1.jpg').unlink()
    with pytest.raises(UserError, match=r'1 masks have no image(.|\n)*masks/1.png'):
        read(tmp_path)
    picture(tmp_path / 'images' / '1.png')
    with pytest.raises(UserError, match=r'endings: .jpg \(1\), .png \(1\)'):
        read(tmp_path)
    for path in (tmp_path / 'images').iterdir():
        path.unlink()
    with pytest.raises(UserError, match='images holds no image'):
        read(tmp_path)


def test_endings_in_capitals(tmp_path):
    pairs(tmp_path, 3)
    (tmp_path / 'images/1.jpg').rename(tmp_path / 'images/1.JPG')
    found, classes = read(tmp_path)
    assert found.image_suffix == '' and found.mask_suffix == '.png'
    assert [pair.name for pair in found.pairs.values()] == ['0.jpg', '1.JPG', '2.jpg']
    (tmp_path / 'list.txt').write_text('0.jpg\n1.JPG\n')
    data = ImagesWithMasks(
        'list.txt',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        metainfo=dict(classes=classes),
    )
    info = data.get_data_info(1)
    assert info['img_path'] == str(tmp_path / 'images/1.JPG')
    assert info['seg_map_path'] == str(tmp_path / 'masks/1.png')
    picture(tmp_path / 'images/1.jpg')
    with pytest.raises(UserError, match=r'2 images would have one mask: .*images/1 '):
        read(tmp_path)


def test_longer_endings(tmp_path):
    pairs(tmp_path, 2, suffix='_mask.png')
    parts = find_parts(tmp_path)
    for suffix in ('_mask.png', None):
        found = find_pairs(parts, suffix)
        assert found.mask_suffix == '_mask.png'
        assert found.splits == {'0': None, '1': None}
    pairs(tmp_path, 2, suffix='-seg.png')
    with pytest.raises(UserError, match='2 masks belong.*--mask-suffix=-seg.png or'):
        find_pairs(parts)
    assert find_pairs(parts, '-seg.png').mask_suffix == '-seg.png'
    with pytest.raises(UserError, match='--mask-suffix'):
        find_pairs(parts, '.png')


def test_images_that_are_no_maps(tmp_path):
    pairs(tmp_path, 3)
    grey = Image.fromarray(np.ones((10, 12), np.uint8))
    for image, message in [
        (grey.convert('RGB'), 'has colours'),
        (grey.convert('P'), 'palette image.*--palette-masks'),
        (Image.fromarray(np.ones((10, 12), np.uint16)), '16 bits'),
        (grey.resize((6, 5)), 'has 6x5 pixels, its image 12x10'),
    ]:
        save_mask(tmp_path, image)
        with pytest.raises(UserError, match=f'1 of 3 masks(.|\n)*0.png.*{message}'):
            read(tmp_path)
    (tmp_path / 'masks' / '0.png').write_bytes(b'none')
    with pytest.raises(UserError, match='cannot be read'):
        read(tmp_path)
    palette = Image.fromarray(np.ones((10, 12), np.uint8))
    palette.putpalette([0, 0, 0, 255, 0, 0])
    save_mask(tmp_path, palette)
    assert read(tmp_path, palette=True)[0].classes['0'] == [1]


def test_values_that_are_no_classes(tmp_path):
    pairs(tmp_path, 2, values=(255,))
    with pytest.raises(UserError, match='write 1 for 255'):
        read(tmp_path)
    pairs(tmp_path, 2, values=(0,))
    with pytest.raises(UserError, match='one class'):
        read(tmp_path)
    pairs(tmp_path, 2, values=(1, 5))
    with pytest.raises(UserError, match='0 to 2, but .*1.png holds 5'):
        read(tmp_path, names=['a', 'b', 'c'])


def test_colours_differ():
    colours = palette_of(150)
    assert len({tuple(c) for c in colours}) == 150
    assert all(0 <= channel <= 255 for c in colours for channel in c)
