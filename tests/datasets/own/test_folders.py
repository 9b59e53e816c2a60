# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
import pytest

from mmvpt.datasets.own import read_folder
from mmvpt.errors import UserError
from tests.datasets.own.pictures import class_folders, picture


def test_classes_and_images(tmp_path):
    class_folders(tmp_path, **{'10': 1, '9': 2})
    picture(tmp_path / '9' / 'deep er' / 'x.JPG')
    found = read_folder(tmp_path)
    assert list(found.by_label()) == ['9', '10']
    assert [i.path for i in found.images] == [
        *('10/0.png', '9/0.png', '9/1.png', '9/deep er/x.JPG')
    ]
    assert all(image.split is None for image in found.images)
    assert found.notes == []


def test_what_is_left_out_is_said(tmp_path):
    class_folders(tmp_path, a=1, b=1)
    picture(tmp_path / 'loose.png')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'a' / 'notes.txt').write_text('')
    picture(tmp_path / '.cache' / 'x.png')
    (tmp_path / 'a' / 'loop').symlink_to(tmp_path)
    found = read_folder(tmp_path)
    assert [image.path for image in found.images] == ['a/0.png', 'b/0.png']
    notes = '\n'.join(found.notes)
    for part in ('1 images in', 'empty holds no image', '1 files below'):
        assert part in notes


def test_splits_are_respected(tmp_path):
    for split in ('Training', 'valid'):
        class_folders(tmp_path / split, a=2, b=1)
    found = read_folder(tmp_path)
    assert {(i.path.split('/')[0], i.split) for i in found.images} == {
        ('Training', 'train'),
        ('valid', 'val'),
    }
    assert list(found.by_label()) == ['a', 'b']


def test_splits_that_do_not_fit(tmp_path):
    class_folders(tmp_path / 'train', a=1, b=1)
    class_folders(tmp_path / 'val', a=1, c=2)
    with pytest.raises(UserError, match=r'2 images are of classes without(.|\n)*val/c'):
        read_folder(tmp_path)
    (tmp_path / 'rose').mkdir()
    with pytest.raises(UserError, match='unclear what the classes are'):
        read_folder(tmp_path)
    (tmp_path / 'rose').rmdir()
    (tmp_path / 'training').mkdir()
    with pytest.raises(UserError, match='two folders for the same split'):
        read_folder(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match='does not exist'):
        read_folder(tmp_path / 'missing')
    with pytest.raises(UserError, match='is empty'):
        read_folder(tmp_path)
    (tmp_path / 'labels.csv').write_text('image,label\n')
    with pytest.raises(UserError, match='give .*labels.csv'):
        read_folder(tmp_path)
    (tmp_path / 'rose').mkdir()
    with pytest.raises(UserError, match='one folder of images for each class'):
        read_folder(tmp_path)


@pytest.mark.parametrize('name', [' x.png', 'x\n.png'])
def test_names_that_no_list_can_hold(tmp_path, name):
    class_folders(tmp_path, a=1, b=1)
    (tmp_path / 'a' / '0.png').rename(tmp_path / 'a' / name)
    if name.startswith(' '):  # only the ends of a path matter
        read_folder(tmp_path)
    else:
        with pytest.raises(UserError, match='line break'):
            read_folder(tmp_path)


def test_class_names_that_no_list_can_hold(tmp_path):
    class_folders(tmp_path, **{'a ': 1, 'b': 1})
    with pytest.raises(UserError, match="'a ' begins or ends with a blank"):
        read_folder(tmp_path)
