# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Layouts of images and masks that are read, and those that are no classes."""

import shutil

import numpy as np
import pytest
from PIL import Image

from mmvpt.datasets.own import find_pairs, find_parts, read_folder, read_masks
from mmvpt.datasets.own.layouts import role
from mmvpt.errors import UserError
from tests.datasets.own.pictures import class_folders, pairs, picture


def read(root, **options):
    found = find_pairs(find_parts(root), root=root)
    return found, read_masks(found, **options)


@pytest.mark.parametrize(
    'folders',
    [
        ('Images', 'Masks'),
        ('JPEGImages', 'SegmentationClass'),
        ('img_dir', 'ann_dir'),
        ('imgs', 'Label_Maps'),
        ('photos', 'GT'),
        ('data/images', 'data/masks'),  # what an archive was unpacked to
        ('.', 'masks'),
    ],
)
def test_names_of_folders(tmp_path, folders):
    pairs(tmp_path, 6, folders=folders)
    found, classes = read(tmp_path)
    assert len(found.pairs) == 6 and classes == ['0', '1', '2']


@pytest.mark.parametrize(
    'form',
    [
        ('{}/images', '{}/masks'),
        ('images/{}', 'masks/{}'),
        ('{}_images', '{}_masks'),
        ('Images-{}', 'Masks-{}'),
        ('{}', '{}annot'),
        ('{}', '{}_labels'),
    ],
)
def test_splits_of_folders(tmp_path, form):
    for split, count in (('train', 3), ('val', 2), ('test', 1)):
        folders = tuple(part.format(split) for part in form)
        pairs(tmp_path, count, folders=folders)
    found, _ = read(tmp_path)
    counts = [list(found.splits.values()).count(s) for s in ('train', 'val', 'test')]
    assert counts == [3, 2, 1]
    for pair in found.pairs.values():
        assert pair.image.is_file() and pair.mask.is_file()


def test_splits_without_masks_are_spoken_of(tmp_path):
    for split in ('train', 'val'):
        pairs(tmp_path, 2, folders=(f'{split}/images', f'{split}/masks'))
    picture(tmp_path / 'test/images/0.jpg')
    found, _ = read(tmp_path)
    assert found.notes == [f'{tmp_path / "test"} has no masks and is left out.']


@pytest.mark.parametrize('ending', ['_mask.png', '-seg.png', '_label.png', '.mask.png'])
def test_endings(tmp_path, ending):
    pairs(tmp_path, 12, suffix=ending)  # 1 is the beginning of 10_mask.png
    assert read(tmp_path)[0].mask_suffix == ending


def test_endings_of_images_too(tmp_path):
    pairs(tmp_path, 4, suffix='_mask.png')
    for path in list((tmp_path / 'images').iterdir()):
        path.rename(path.with_name(f'{path.stem}_sat.jpg'))
    found, _ = read(tmp_path)
    assert (found.image_suffix, found.mask_suffix) == ('_sat.jpg', '_mask.png')


def test_masks_beside_images(tmp_path):
    pairs(tmp_path, 4, folders=('.', '.'), suffix='_mask.png')
    found, classes = read(tmp_path)
    assert len(found.pairs) == 4 and len(classes) == 3


def test_lists_of_splits(tmp_path):
    pairs(tmp_path, 8, folders=('JPEGImages', 'SegmentationClass'))
    picture(tmp_path / 'JPEGImages/without.jpg')  # VOC has many without a mask
    (tmp_path / 'Annotations').mkdir()
    (tmp_path / 'Annotations/0.xml').write_text('<annotation/>')
    lists = tmp_path / 'ImageSets/Segmentation'
    lists.mkdir(parents=True)
    (lists / 'train.txt').write_text('0\n1\n2\n3\n4\n')
    (lists / 'val.txt').write_text('JPEGImages/5.jpg\n6\n')
    found, _ = read(tmp_path)
    assert [k for k, split in found.splits.items() if split == 'val'] == ['5', '6']
    assert list(found.splits.values()).count('train') == 5
    assert '2 images are in none of them' in found.notes[0]
    folders = find_parts(tmp_path / 'JPEGImages', tmp_path / 'SegmentationClass')
    again = find_pairs(folders, root=tmp_path / 'JPEGImages')  # by --masks
    assert again.splits == found.splits
    (lists / 'val.txt').write_text('4\n')
    with pytest.raises(UserError, match="val.txt: '4' is in train.txt too"):
        read(tmp_path)
    (lists / 'val.txt').write_text('nothing\n')
    with pytest.raises(UserError, match="val.txt lists 'nothing', which is no image"):
        read(tmp_path)


@pytest.mark.parametrize(
    'files',
    [
        ('ImageSets/Main/train.txt', 'ImageSets/Main/val.txt'),
        ('imagesets/segmentation/Train.txt', 'imagesets/segmentation/Val.txt'),
        ('Split/train_list.txt', 'Split/val_list.txt'),
        ('train_ids.lst', 'val_ids.lst'),
    ],
)
def test_where_lists_of_splits_lie(tmp_path, files):
    pairs(tmp_path, 4)
    for file, text in zip(files, ('0\n1\n2\n', '3\n')):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    found, _ = read(tmp_path)
    assert list(found.splits.values()) == ['train'] * 3 + ['val']


def test_lists_of_splits_of_class_folders(tmp_path):
    class_folders(tmp_path, a=3, b=3)
    (tmp_path / 'train.txt').write_text('a/0.png 0\na/1.png 0\nb/0.png 1\nb/1.png 1\n')
    (tmp_path / 'test.txt').write_text('a/2.png 0\nb/2.png 1\n')
    found = read_folder(tmp_path)
    test = [image.path for image in found.images if image.split == 'test']
    assert test == ['a/2.png', 'b/2.png']
    (tmp_path / 'test.txt').write_text('readme\n')
    found = read_folder(tmp_path)
    assert {image.split for image in found.images} == {None}
    assert 'lists of images were not followed' in found.notes[-1]


@pytest.mark.parametrize(
    ('folders', 'named'),
    [
        (('images', 'other'), 'images'),
        (('fields/images', 'sea/images', 'fields/masks', 'sea/masks'), 'masks'),
        (('a', 'b', 'a/masks'), 'a/masks|masks/'),
        (('train/pictures_x', 'train/masks'), 'masks'),
    ],
)
def test_images_and_masks_are_no_classes(tmp_path, folders, named):
    for folder in folders:
        for i in range(3):
            picture(tmp_path / folder / f'{folder.replace("/", "-")}{i}.png')
    try:
        parts = find_parts(tmp_path)
    except UserError as error:
        assert '--masks' in str(error)
        return
    assert parts is None
    with pytest.raises(UserError, match=f'(?s){named}.*--masks'):
        read_folder(tmp_path)


def test_masks_by_what_is_in_them(tmp_path):
    """Whatever their folders are called."""
    pairs(tmp_path, 3, folders=('x', 'y'))
    with pytest.raises(UserError, match='y seems to hold masks of the images in x'):
        read_folder(tmp_path)
    for path in (tmp_path / 'y').iterdir():
        path.rename(path.with_name(f'class-{path.name}'))
    assert set(read_folder(tmp_path).by_label()) == {'x', 'y'}


def test_masks_beside_images_of_a_class(tmp_path):
    class_folders(tmp_path, benign=4, malignant=4)
    for path in list((tmp_path / 'benign').iterdir()):
        shutil.copy(path, path.with_name(f'{path.stem}_mask.png'))
    with pytest.raises(UserError, match=r'(?s)benign holds what seems.*0_mask.png'):
        read_folder(tmp_path)


def test_words_that_are_classes(tmp_path):
    class_folders(tmp_path, mask=2, no_mask=2, photo=2)
    with pytest.raises(UserError, match='photo'):  # an image word beside a mask word
        read_folder(tmp_path)
    shutil.rmtree(tmp_path / 'photo')
    assert list(read_folder(tmp_path).by_label()) == ['mask', 'no_mask']
    assert role('validation') == (None, 'val') and role('rose') == (None, None)
    class_folders(tmp_path / 'nested', a=1)
    for name in 'ab':  # as in Tiny ImageNet
        picture(tmp_path / 'tiny' / name / 'images/0.png', ord(name))
    assert list(read_folder(tmp_path / 'tiny').by_label()) == ['a', 'b']


@pytest.mark.parametrize(
    'left',
    [
        '@eaDir',
        '__MACOSX',
        '.ipynb_checkpoints',
        '#recycle',
        '$RECYCLE.BIN',
        '@Recycle',
    ],
)
def test_what_systems_leave_behind(tmp_path, left):
    class_folders(tmp_path, a=2, b=2)
    for place in (tmp_path, tmp_path / 'a', tmp_path / 'b'):
        picture(place / left / 'a.png')
    (tmp_path / 'a/Thumbs.db').write_bytes(b'x')
    found = read_folder(tmp_path)
    assert len(found.images) == 4 and list(found.by_label()) == ['a', 'b']


@pytest.mark.parametrize('kind', ['jpeg', 'levels', 'interpolated'])
def test_values_that_are_no_indices(tmp_path, kind):
    pairs(tmp_path, 4)
    for path in list((tmp_path / 'masks').iterdir()):
        mask = np.zeros((10, 12), np.uint8)
        mask[:, 4:8], mask[:, 8:] = 2, 9
        if kind == 'levels':
            mask = mask * 20
        image = Image.fromarray(mask)
        if kind == 'interpolated':
            image = image.resize((6, 5)).resize((12, 10), Image.Resampling.BILINEAR)
        path.unlink()
        image.save(path.with_suffix('.jpg' if kind == 'jpeg' else '.png'))
    message = 'JPEG' if kind == 'jpeg' else '--classes'
    with pytest.raises(UserError, match=rf'(?s)masks/\d.*{message}'):
        read(tmp_path)
    if kind == 'interpolated':  # by their names, the values are meant
        found, _ = read(tmp_path, names=[*'abcdefghij'])
        assert 'taken as classes by --classes' in found.notes[0]


@pytest.mark.parametrize('orientation', [2, 3, 6, 8])
@pytest.mark.parametrize('drawn_on', ['shown', 'stored'])
def test_what_masks_were_drawn_on(tmp_path, orientation, drawn_on):
    pairs(tmp_path, 3)
    exif = Image.Exif()
    exif[0x112] = orientation
    for i in range(3):
        with Image.open(tmp_path / f'images/{i}.jpg') as image:
            image.copy().save(tmp_path / f'images/{i}.jpg', exif=exif)
        if orientation > 4 and drawn_on == 'shown':
            with Image.open(tmp_path / f'masks/{i}.png') as mask:
                mask.transpose(Image.Transpose.ROTATE_90).save(
                    tmp_path / f'masks/{i}.png'
                )
    if orientation > 4:
        assert read(tmp_path)[0].drawn_on == drawn_on
        other = dict(shown='stored', stored='shown')[drawn_on]
        with pytest.raises(UserError, match=f'EXIF orientation {orientation}'):
            read(tmp_path, drawn_on=other)
    else:
        with pytest.raises(UserError, match=r'(?s)EXIF.*0.jpg.*--masks-drawn'):
            read(tmp_path)
        assert read(tmp_path, drawn_on=drawn_on)[0].drawn_on == drawn_on
