# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Mistakes in data and heads are named before anything runs."""

import copy
import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from PIL import Image
from torch import nn

from mmvpt.datasets import LabelMaps
from mmvpt.engine import run as launch
from mmvpt.engine import run_config
from mmvpt.engine.data_checks import (
    check_heads,
    check_run,
    compare_classes,
    name_files,
)
from mmvpt.errors import UserError
from tests.apis.tuned_runs import classifier, segmentor
from tests.datasets.own.pictures import class_folders


def scenes_config(root):
    """Return the config of a miniature segmentation that is validated too."""
    config = segmentor(root)
    config.val_dataloader = config.test_dataloader
    config.val_evaluator, config.val_cfg = config.test_evaluator, config.test_cfg
    return Config(copy.deepcopy(config.to_dict()))


def changed(config, key, value):
    config = copy.deepcopy(config)
    config.merge_from_dict({key: value})
    return config


def build_and_check(config):
    check_run(launch.build_runner(copy.deepcopy(config)))


def refused(config, message):
    with pytest.raises(UserError, match=message):
        build_and_check(config)


def test_files_of_mmseg_data_sets(tmp_path):
    config, scenes = scenes_config(tmp_path), tmp_path / 'scenes'
    build_and_check(config)
    for stage in ('train', 'val'):
        data = f'{stage}_dataloader.dataset'
        other = changed(config, f'{data}.img_suffix', '.jpg')
        refused(other, rf'(?s){data}.*scenes/images.*\.jpg.*img_suffix')
        other = changed(config, f'{data}.data_prefix.img_path', 'photos')
        refused(other, f'{data}.*scenes/photos.*does not exist')
    whole = (scenes / 'maps/1.png').read_bytes()
    (scenes / 'maps/1.png').write_bytes(whole[:50])
    refused(config, r'maps/1\.png \(50 bytes\) is cut off')
    (scenes / 'maps/1.png').unlink()
    refused(config, r'(?s)do not exist.*maps/1\.png')
    (scenes / 'maps/1.png').write_bytes(whole)
    whole = (scenes / 'images/2.png').read_bytes()
    for content, words in (
        (whole[:60], 'cut off'),
        (b'', 'no image'),
        (b'<a>', 'no i'),
    ):
        (scenes / 'images/2.png').write_bytes(content)
        refused(config, rf'images/2\.png .*{words}')


def test_lists_of_mmseg_data_sets(tmp_path):
    config = scenes_config(tmp_path)
    config.val_dataloader.dataset.ann_file = 'val.txt'
    refused(config, r'val_dataloader.*val\.txt')
    (tmp_path / 'scenes/val.txt').write_text('')
    refused(config, 'val_dataloader.*has no image')
    (tmp_path / 'scenes/val.txt').write_text('0\n9\n')
    refused(config, r'(?s)do not exist.*images/9\.png')
    (tmp_path / 'scenes/val.txt').write_bytes(b'caf\xe9\n')
    refused(config, "val_dataloader.*cannot be read: 'utf-8'")


def damage(path):
    """Overwrite what only decoding reads."""
    content = path.read_bytes()
    path.write_bytes(content[:60] + b'\xff' * 30 + content[90:])


def strip(path):
    Image.fromarray(np.zeros((2, 4000), np.uint8)).save(path)


@pytest.mark.parametrize(
    ('file', 'change', 'words'),
    [
        ('maps/1.png', damage, r'maps/1.png .32x24 pixels. cannot be loaded'),
        ('images/1.png', damage, r'images/1.png or .* cannot be loaded'),
        ('images/1.png', strip, r'images/1.png .*.4000x2 pixels. cannot be loaded'),
    ],
)
def test_what_fails_at_a_sample_is_named(tmp_path, file, change, words):
    config = scenes_config(tmp_path)
    change(tmp_path / 'scenes' / file)
    data = DATASETS.build(dict(config.test_dataloader.dataset, _scope_='mmseg'))
    name_files(data)
    assert data[0]['inputs'].shape[0] == 3
    with pytest.raises(UserError, match=words):
        data[1]


def test_masks_are_checked_as_they_are_read(tmp_path):
    """mmseg's own loader takes colours and values beyond the classes."""
    config = run_config.testing_config(scenes_config(tmp_path), 'x.pth')
    steps = [step.type for step in config.test_dataloader.dataset.pipeline]
    assert steps[1:4] == ['Resize', 'LoadAnnotations', 'mmvpt.CheckSegMap']
    data = DATASETS.build(dict(config.test_dataloader.dataset, _scope_='mmseg'))
    assert data[1]
    path = tmp_path / 'scenes/maps/1.png'
    values = np.asarray(Image.open(path)).copy()
    values[0, 0] = 4
    for mask, words in (
        (Image.fromarray(values), '1 pixels hold 4, but num_classes=4'),
        (Image.open(path).convert('RGB'), 'has colours'),
    ):
        mask.save(path)
        with pytest.raises(UserError, match=words):
            data[1]


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'palette': ['red'] * 4}, "colour is .R, G, B., .* got 'red'"),
        ({'palette': [[0, 0, 300]] * 4}, r'got \[0, 0, 300\]'),
        ({'classes': ['a', 'b', 'b', 'c']}, "names that differ, got .*'b', 'b'"),
        ({'classes': 'abcd'}, "list of names .* got 'abcd'"),
        ({}, 'has no names of classes'),
    ],
)
def test_names_and_colours(tmp_path, changes, words):
    config = scenes_config(tmp_path)
    loader = config.train_dataloader
    loader.dataset.metainfo = (
        dict(loader.dataset.metainfo, **changes) if changes else {}
    )
    refused(config, words)


def test_values_are_the_same_classes_everywhere(tmp_path):
    config = scenes_config(tmp_path)
    config.train_dataloader.dataset.reduce_zero_label = True
    refused(config, 'train.* has reduce_zero_label=True, val.*has False')


def test_masks_of_turned_images_are_spoken_of(tmp_path):
    config = scenes_config(tmp_path)
    exif = Image.Exif()
    exif[0x112] = 3
    path = tmp_path / 'scenes/images/0.png'
    Image.open(path).save(path, exif=exif)
    runner = launch.build_runner(config)
    warned = []
    runner.logger.warning = warned.append
    check_run(runner)
    assert all('EXIF' in text and 'images/0.png' in text for text in warned) and warned


def test_other_classes_in_train_and_val(tmp_path):
    class_folders(tmp_path / 'train', ant=3, bee=3, cat=3)
    class_folders(tmp_path / 'val', ant=2, bee=2, dog=2)
    config = classifier(tmp_path)
    for stage in ('train', 'val'):
        loader = config[f'{stage}_dataloader']
        pipeline = loader.dataset.pipeline
        loader.dataset = dict(
            type='CustomDataset', data_root=str(tmp_path / stage), pipeline=pipeline
        )
    config.test_dataloader = config.test_cfg = config.test_evaluator = None
    refused(
        copy.deepcopy(config), "train.*val.*label 2 is 'cat' in the first and 'dog'"
    )
    shutil.move(tmp_path / 'val/dog', tmp_path / 'val/cat')
    build_and_check(config)
    for data in (config.train_dataloader.dataset, config.val_dataloader.dataset):
        data.metainfo = dict(classes=['cat', 'bee', 'ant'])
    refused(config, "folders of train.*: label 0 is 'ant' in the first and 'cat'")
    for data in (config.train_dataloader.dataset, config.val_dataloader.dataset):
        data.metainfo = dict(classes=['Ameise', 'Biene', 'Katze'])  # other words
    build_and_check(config)
    data = config.train_dataloader.dataset
    for label in (3, -1):
        (tmp_path / 'train/list.txt').write_text(f'ant/0.png 0\nant/1.png {label}\n')
        listed = changed(config, 'train_dataloader.dataset.ann_file', 'list.txt')
        refused(listed, rf'label {label} of .*ant/1.png is outside 0\.\.2')
    for stage in ('train', 'val'):
        config[f'{stage}_dataloader'].dataset.metainfo = None
        shutil.copytree(tmp_path / stage / 'ant', tmp_path / stage / '@eaDir')
    refused(config, "'@eaDir' is no class")


def test_names_and_their_order():
    compare_classes(['a', 'b'], ['a', 'b'], 'x', 'y')
    for other, message in ((['b', 'a'], "label 0 is 'a'"), (['a'], 'has 2 classes')):
        with pytest.raises(UserError, match=message):
            compare_classes(['a', 'b'], other, 'x', 'y')


def build(**model):
    with DefaultScope.overwrite_default_scope(model.pop('scope')):
        return MODELS.build(model)


@pytest.mark.parametrize(
    ('num_classes', 'options', 'fine'),
    [
        (1, {}, False),
        (2, {}, True),
        (2, dict(out_channels=1, threshold=0.5), False),
        (2, dict(out_channels=1, threshold=0.5, sigmoid=True), True),
        (1, dict(sigmoid=True), False),
    ],
)
def test_decode_heads_with_one_output(num_classes, options, fine):
    sigmoid = options.pop('sigmoid', False)
    head = build(
        scope='mmseg',
        type='FCNHead',
        in_channels=4,
        channels=4,
        num_classes=num_classes,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=sigmoid),
        **options,
    )
    model = nn.ModuleDict(dict(decode_head=head))
    if fine:
        check_heads(model)
        return
    with pytest.raises(UserError, match='decode_head has num_classes.*use_sigmoid'):
        check_heads(model)


@pytest.mark.parametrize(
    ('kind', 'num_classes', 'fine'),
    [
        ('LinearClsHead', 1, False),
        ('LinearClsHead', 2, True),
        ('MultiLabelLinearClsHead', 1, True),
    ],
)
def test_heads_of_classifiers_with_one_class(kind, num_classes, fine):
    head = build(scope='mmpretrain', type=kind, num_classes=num_classes, in_channels=4)
    model = nn.ModuleDict(dict(head=head))
    if fine:
        check_heads(model)
        return
    with pytest.raises(UserError, match='head has num_classes=1.*learn nothing'):
        check_heads(model)


def test_what_does_not_count_is_the_same_everywhere(tmp_path):
    config = scenes_config(tmp_path)
    config = changed(config, 'model.decode_head.ignore_index', 254)
    refused(config, 'ignore_index=254, but for val_evaluator it is 255')
    for stage in ('val', 'test'):
        config = changed(config, f'{stage}_evaluator.ignore_index', 254)
    build_and_check(config)
    check = dict(type='mmvpt.CheckSegMap', num_classes=4)
    config.train_dataloader.dataset.pipeline.insert(2, check)
    refused(config, 'CheckSegMap of train.*it is 255')
    config.train_dataloader.dataset.pipeline[2]['ignore_index'] = 254
    build_and_check(config)
    config = changed(config, 'train_dataloader.dataset.reduce_zero_label', True)
    refused(config, 'reduce_zero_label it is 255')


@pytest.mark.parametrize(
    ('step', 'place'),
    [
        (None, 'model.data_preprocessor.seg_pad_val'),
        (dict(type='Pad', size=(16, 16), pad_val=dict(img=0, seg=2)), 'pad_val.seg'),
        (dict(type='RandomRotate', prob=1, degree=9, seg_pad_val=2), 'seg_pad_val'),
        (
            dict(type='RandomCutOut', prob=1, n_holes=1, cutout_shape=(2, 2)),
            'seg_fill_in',
        ),
    ],
)
def test_padding_is_no_class(tmp_path, step, place):
    config = scenes_config(tmp_path)
    if step is None:
        config.model.data_preprocessor.seg_pad_val = 2
    else:
        step = dict(step, seg_fill_in=2) if place == 'seg_fill_in' else step
        config.train_dataloader.dataset.pipeline.insert(2, step)
    refused(config, f'{place} is 2, so padding would count as class 2')
    if step is None:  # then the class is left out as well, or the value is none
        for value in (200, 255):
            build_and_check(
                changed(config, 'model.data_preprocessor.seg_pad_val', value)
            )


def test_label_maps_do_not_overwrite_each_other(tmp_path):
    images = ['x/north/0.png', 'x/south/0.png', 'x/south/1.png']
    maps = LabelMaps(tmp_path, images)
    for value, image in enumerate(images):
        data = torch.full((1, 2, 3), value)
        maps.process({}, [dict(img_path=image, pred_sem_seg=dict(data=data))])
    found = {p.relative_to(tmp_path).as_posix(): p for p in tmp_path.rglob('*.png')}
    assert set(found) == {'north/0.png', 'south/0.png', 'south/1.png'}
    assert np.unique(Image.open(found['south/0.png'])) == [1]
    single = LabelMaps(tmp_path / 'flat', ['a/0.png', 'b/1.png'])
    sample = dict(img_path='b/1.png', pred_sem_seg=dict(data=data))
    single.process({}, [dict(sample, reduce_zero_label=True)])
    assert np.unique(Image.open(tmp_path / 'flat/1.png')) == [3]
