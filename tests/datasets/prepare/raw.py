# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Miniatures of published data sets in their true formats and folder names."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmvpt.datasets.prepare import TASKS
from tests.datasets.prepare.raw_formats import (
    cells,
    example,
    mat,
    norb,
    picture,
    put,
    tfrecord,
)

K = 3  # classes of most miniatures


def birds(root, folder='CUB_200_2011', per_class=12, ids=(1, 2, 3)):
    lines = {'images': [], 'image_class_labels': [], 'train_test_split': []}
    number = 0
    for class_id in ids:
        for i in range(per_class):
            number += 1
            path = f'{class_id:03d}.Some_bird/Bird_{i}_{number}.jpg'
            put(root / folder / 'images' / path, picture(number))
            lines['images'].append(f'{number} {path}')
            lines['image_class_labels'].append(f'{number} {class_id}')
            lines['train_test_split'].append(f'{number} {int(i % 3 > 0)}')
    lines['classes'] = [f'{class_id} {class_id:03d}.Some bird' for class_id in ids]
    for name, rows in lines.items():
        put(root / folder / f'{name}.txt', '\n'.join(rows) + '\n')


def cub(root):
    birds(root)


def nabirds(root):
    birds(root, 'nabirds', ids=(295, 817, 1010))


def dogs(root):
    lists = {'train': [], 'test': []}
    for i in range(K * 6):
        path = f'n0{i % K}-Dog_{i % K}/n0{i % K}_{i}.jpg'
        put(root / 'Images' / path, picture(i))
        lists['train' if i < 12 else 'test'].append((path, i % K + 1))
    for part, rows in lists.items():
        mat(
            root / f'{part}_list.mat',
            file_list=cells([path for path, _ in rows]),
            annotation_list=cells([path[:-4] for path, _ in rows]),
            labels=np.array([[label] for _, label in rows], np.float64),
        )


def cars(root, devkit=False):
    names = cells(['AM General Hummer SUV 2000', 'Acura RL', 'Audi S4']).T
    fields = ['bbox_x1', 'class', 'test' if not devkit else 'bbox_x2']
    name = 'fname' if devkit else 'relative_im_path'
    dtype = [(field, object) for field in (name, *fields)]
    rows = {'train': [], 'test': []}
    for i in range(K * 6):
        part = 'train' if i < 12 else 'test'
        path = (
            f'{len(rows[part]) + 1:05d}.jpg' if devkit else f'car_ims/{i + 1:06d}.jpg'
        )
        put(root / (f'cars_{part}' if devkit else '') / path, picture(i))
        rows[part].append((path, 1, i % K + 1, int(part == 'test')))

    def table(values):
        array = np.empty((1, len(values)), dtype=dtype)
        array[0] = values
        return array

    if not devkit:
        annotations = table(rows['train'] + rows['test'])
        mat(root / 'cars_annos.mat', annotations=annotations, class_names=names)
        return
    mat(root / 'devkit/cars_meta.mat', class_names=names)
    mat(root / 'devkit/cars_train_annos.mat', annotations=table(rows['train']))
    mat(root / 'cars_test_annos_withlabels.mat', annotations=table(rows['test']))


def cars_devkit(root):
    cars(root, devkit=True)


def flowers(root):
    ids = np.random.default_rng(0).permutation(np.arange(1, 31))
    for number in ids.tolist():
        put(root / f'jpg/image_{number:05d}.jpg', picture(number))
    mat(root / 'imagelabels.mat', labels=np.arange(30)[None] % K + 1)
    parts = dict(trnid=ids[None, :12], valid=ids[None, 12:18], tstid=ids[None, 18:])
    mat(root / 'setid.mat', **parts)


def caltech(root):
    names = ['BACKGROUND_Google', 'Faces', 'accordion', *(f'c{i}' for i in range(99))]
    for j, folder in enumerate(names):
        for i in range(4):
            path = f'101_ObjectCategories/{folder}/image_{i + 1:04d}.jpg'
            put(root / path, picture(10 * j + i))


def dtd(root):
    for j, part in enumerate(('train', 'val', 'test')):
        paths = [f'texture{i:02d}/texture{i:02d}_{j}.jpg' for i in range(47)]
        put(root / f'dtd/labels/{part}1.txt', '\n'.join(paths) + '\n')
        for i, path in enumerate(paths):
            put(root / f'dtd/images/{path}', picture(100 * j + i))


def pets(root):
    for j, (part, count) in enumerate((('trainval', 74), ('test', 37))):
        lines = ['# a comment']
        for i in range(count):
            key = f'Some_pet{i % 37}_{100 * j + i}'
            put(root / f'images/{key}.jpg', picture(100 * j + i))
            lines.append(f'{key} {i % 37 + 1} 1 1')
        put(root / f'annotations/{part}.txt', '\n'.join(lines) + '\n')


def sun(root, lists=True):
    folders = ['a/abbey', 'c/church/outdoor', *(f'z/zoo{i}' for i in range(395))]
    keys = []
    for j, folder in enumerate(folders):
        for i in range(3):
            keys.append(f'/{folder}/sun_{i:03d}.jpg')
            # Some published .jpg files are PNGs, some are large.
            suffix = '.png' if (i, j) == (1, 0) else '.jpg'
            size = (400, 600) if (i, j) == (2, 0) else (6, 8)
            put(root / f'SUN397{keys[-1]}', picture(10 * j + i, size, suffix))
    for k, part in enumerate(('tr', 'va', 'te') if lists else ()):
        put(root / f'sun397_tfds_{part}.txt', '\n'.join(keys[k::3]) + '\n')


def class_folders(root, classes, parent):
    for j, name in enumerate(classes):
        for i in range(5):
            put(root / parent / name / f'{name}_{i + 1}.jpg', picture(100 * j + i))


def eurosat(root):
    class_folders(root, TASKS['eurosat'].options['classes'], '2750')


def resisc(root):
    class_folders(root, TASKS['resisc45'].options['classes'], 'NWPU-RESISC45')


def _arrays(count, size, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *size), dtype=np.uint8)


def cifar(root):
    for j, (part, count) in enumerate((('train', 30), ('test', 9))):
        content = {
            b'data': _arrays(count, (3072,), j),
            b'fine_labels': [i % K for i in range(count)],
            b'coarse_labels': [0] * count,
            b'filenames': [b'x.png'] * count,
        }
        put(root / f'cifar-100-python/{part}', pickle.dumps(content, protocol=2))


def cifar_binary(root):
    for j, (part, count) in enumerate((('train', 30), ('test', 9))):
        rows = [
            bytes([0, i % K]) + row.tobytes()
            for i, row in enumerate(_arrays(count, (3072,), j))
        ]
        put(root / f'cifar-100-binary/{part}.bin', b''.join(rows))


def svhn(root):
    for j, (part, count) in enumerate((('train', 30), ('test', 10))):
        images = _arrays(count, (32, 32, 3), j).transpose(1, 2, 3, 0)
        labels = np.arange(count)[:, None] % 10 + 1
        mat(root / f'{part}_32x32.mat', X=images, y=labels.astype(np.uint8))


def camelyon(root):
    h5py = pytest.importorskip('h5py')

    for j, (part, count) in enumerate((('train', 12), ('valid', 8), ('test', 6))):
        for kind, data in (
            ('x', _arrays(count, (96, 96, 3), j)),
            ('y', (np.arange(count) % 2).reshape(-1, 1, 1, 1).astype(np.uint8)),
        ):
            file = io.BytesIO()
            with h5py.File(file, 'w') as content:
                content[kind] = data
            name = f'camelyonpatch_level_2_split_{part}_{kind}.h5.gz'
            put(root / name, gzip.compress(file.getvalue()))


def _sprites(count=96):
    rng = np.random.default_rng(0)
    classes = np.zeros((count, 6), dtype=np.int64)
    classes[:, 3] = np.arange(count) % 40
    classes[:, 4] = np.arange(count) % 32
    return rng.integers(0, 2, (count, 64, 64), dtype=np.uint8), classes


DSPRITES = 'dsprites_ndarray_co1sh3sc6or40x32y32_64x64'


def dsprites(root):
    images, classes = _sprites()
    root.mkdir(parents=True, exist_ok=True)
    np.savez(root / f'{DSPRITES}.npz', imgs=images, latents_classes=classes)


def dsprites_hdf5(root):
    h5py = pytest.importorskip('h5py')

    images, classes = _sprites()
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / f'{DSPRITES}.hdf5', 'w') as file:
        file['imgs'] = images
        file['latents/classes'] = classes


def smallnorb(root):
    for j, part in enumerate(('5x46789x9x18x6x2x96x96-training', '5x01235-testing')):
        count = 40
        info = np.zeros((count, 4), np.int32)
        info[:, 1] = np.arange(count) % 9
        info[:, 2] = np.arange(count) % 18 * 2
        for kind, array in (('dat', _arrays(count, (2, 96, 96), j)), ('info', info)):
            name = f'smallnorb-{part}-{kind}.mat.gz'
            put(root / name, gzip.compress(norb(array), mtime=0))


def clevr(root):
    for j, (part, count) in enumerate((('train', 40), ('val', 8))):
        scenes = []
        for i in range(count):
            name = f'CLEVR_{part}_{i:06d}.png'
            put(root / f'CLEVR_v1.0/images/{part}/{name}', picture(100 * j + i))
            depths = [7.5 + i % 6 * 0.6, *[30.0] * (2 + i % 8)]
            objects = [{'pixel_coords': [1, 2, depth]} for depth in depths]
            scenes.append({'image_filename': name, 'objects': objects})
        content = json.dumps({'info': {}, 'scenes': scenes})
        put(root / f'CLEVR_v1.0/scenes/CLEVR_{part}_scenes.json', content)


def kitti(root, videos=20, frames=4):
    order = np.random.default_rng(0).permutation(videos * frames) + 1
    put(root / 'mapping/train_rand.txt', ','.join(map(str, order)) + '\n')
    lines = [
        f'2011_09_26 2011_09_26_drive_{i // frames:04d}_sync {i % frames:010d}'
        for i in range(videos * frames)
    ]
    put(root / 'mapping/train_mapping.txt', '\n'.join(lines) + '\n')
    for i in range(videos * frames):
        z = (5.0, 12.0, 40.0, None)[i % 4]
        rows = ['DontCare -1 -1 -10 0 0 1 1 -1 -1 -1 -1000 -1000 -1000 -10']
        rows += ['Pedestrian 0.00 0 0.1 1 1 2 2 1.5 1.6 4.0 1.0 1.5 3.0 0.1']
        if z is not None:
            rows += [f'Van 0.00 0 0.1 1 1 2 2 1.5 1.6 4.0 1.0 1.5 {z} 0.1']
        put(root / f'training/label_2/{i:06d}.txt', '\n'.join(rows) + '\n')
        put(root / f'training/image_2/{i:06d}.png', picture(i, suffix='.png'))


def dmlab(root):
    number = 0
    for part, count in (('train', 14), ('validation', 6), ('test', 6)):
        messages = []
        for i in range(count):
            number += 1
            messages.append(
                example(
                    image=[picture(number)],
                    filename=[f'video_{number}.jpg'.encode()],
                    label=[i % 6],
                )
            )
        half = count // 2
        tfrecord(root / f'dmlab-{part}.tfrecord-00000-of-00002', messages[:half])
        tfrecord(root / f'dmlab-{part}.tfrecord-00001-of-00002', messages[half:])


def retinopathy(root):
    rows = ['image,level,Usage']
    for i in range(20):
        put(root / f'test/{i}_left.jpeg', picture(i, (60, 80)))
        rows.append(f'{i}_left,{i % 5},{"Public" if i < 10 else "Private"}')
    put(root / 'retinopathy_solution.csv', '\n'.join(rows) + '\n')
    rows = ['image,level']
    for i in range(12):
        put(root / f'train/{i}_right.jpeg', picture(100 + i, (60, 80)))
        rows.append(f'{i}_right,{i % 5}')
    put(root / 'trainLabels.csv', '\n'.join(rows) + '\n')


def _map(values, size=(12, 16)):
    labels = np.resize(np.array(values, np.uint8), size)
    return cv2.imencode('.png', labels)[1].tobytes()


def ade(root):
    base = root / 'ADEChallengeData2016'
    for j, (part, count) in enumerate((('training', 4), ('validation', 2))):
        for i in range(count):
            stem = f'ADE_{part[:5]}_{i + 1:08d}'
            put(base / f'images/{part}/{stem}.jpg', picture(10 * j + i))
            put(base / f'annotations/{part}/{stem}.png', _map([0, i, 150]))


def context(root):
    base = root / 'VOCdevkit/VOC2010'
    for j, part in enumerate(('train', 'val')):
        stems = [f'2008_{10 * j + i:06d}' for i in range(3)]
        put(base / f'ImageSets/Main/{part}.txt', '\n'.join(stems) + '\n')
        for i, stem in enumerate(stems):
            put(base / f'JPEGImages/{stem}.jpg', picture(10 * j + i))
            # accordion (1) is none of the 59, aeroplane is 2, wood 458
            labels = np.resize(np.array([1, 2, 458, 459], np.uint16), (12, 16))
            mat(root / f'trainval/{stem}.mat', LabelMap=labels)


MAKERS = {
    'cub': cub,
    'nabirds': nabirds,
    'flowers': flowers,
    'dogs': dogs,
    'cars': cars,
    'cifar100': cifar,
    'caltech101': caltech,
    'dtd': dtd,
    'oxford_flowers102': flowers,
    'oxford_iiit_pet': pets,
    'svhn': svhn,
    'sun397': sun,
    'patch_camelyon': camelyon,
    'eurosat': eurosat,
    'resisc45': resisc,
    'retinopathy': retinopathy,
    'clevr_count': clevr,
    'clevr_dist': clevr,
    'dmlab': dmlab,
    'kitti': kitti,
    'dsprites_loc': dsprites,
    'dsprites_ori': dsprites,
    'smallnorb_azi': smallnorb,
    'smallnorb_ele': smallnorb,
    'ade20k': ade,
    'pascal_context': context,
}
FEW = ('cifar100', 'oxford_flowers102')


def make(name: str, root: Path):
    """Write a task's raw miniature below ``root`` and return the task that fits it."""
    MAKERS[name](root)
    task = TASKS[name]
    if task.group == 'fgvc' or name in FEW:
        task = dataclasses.replace(task, num_classes=K)
    if name == 'caltech101':
        task = dataclasses.replace(task, options={'per_class': 2})
    return task
