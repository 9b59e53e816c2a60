# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The 26 tasks that can be prepared."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from mmvpt.datasets.fgvc import FGVC
from mmvpt.datasets.vtab1k import VTAB1k

from .parsers import arrays, fgvc, folders, scenes, segmentation
from .task import RefusedError, Rule, Task

EUROSAT = (
    'AnnualCrop Forest HerbaceousVegetation Highway Industrial Pasture PermanentCrop '
    'Residential River SeaLake'
).split()
RESISC45 = (
    'airplane airport baseball_diamond basketball_court beach bridge chaparral church '
    'circular_farmland cloud commercial_area dense_residential desert forest freeway '
    'golf_course ground_track_field harbor industrial_area intersection island lake '
    'meadow medium_residential mobile_home_park mountain overpass palace parking_lot '
    'railway railway_station rectangular_farmland river roundabout runway sea_ice ship '
    'snowberg sparse_residential stadium storage_tank tennis_court terrace '
    'thermal_power_station wetland'
).split()

RESEARCH = 'Non-commercial research and education.'
UNSTATED = 'No licence is stated; images belong to their owners. Research use.'
UNCONFIRMED = 'the order of TensorFlow Datasets, which no published list confirms'
CLEVR: dict[str, Any] = dict(
    rule=Rule('train[:90%]', 'train[90%:]', 'validation'),
    parse=scenes.parse_clevr,
    archives=('CLEVR_v1.0.zip',),
    wants='CLEVR_v1.0.zip, or its folder with scenes/ and images/',
    homepage='https://cs.stanford.edu/people/jcjohns/clevr/',
    terms='CC BY 4.0.',
)
DSPRITES: dict[str, Any] = dict(
    rule=Rule('train[:80%]', 'train[80%:90%]', 'train[90%:]'),
    parse=arrays.parse_dsprites,
    archives=(),
    wants='dsprites_ndarray_co1sh3sc6or40x32y32_64x64, .npz or .hdf5 (needs h5py)',
    homepage='https://github.com/google-deepmind/dsprites-dataset',
    terms='Apache-2.0.',
    official=None,
    split_note=UNCONFIRMED,
)
SMALLNORB: dict[str, Any] = dict(
    rule=Rule('train', 'test[:50%]', 'test[50%:]'),
    parse=arrays.parse_norb,
    archives=('smallnorb-*.mat.gz',),
    wants='smallnorb-*-{training,testing}-{dat,info}.mat or .mat.gz',
    homepage='https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/',
    terms='Research only; see the page.',
    official=None,
    split_note=UNCONFIRMED,
)
FLOWERS: dict[str, Any] = dict(
    parse=fgvc.parse_flowers,
    archives=('102flowers.tgz', '102flowers.tar.gz'),
    wants='102flowers.tgz (or jpg/), imagelabels.mat and setid.mat',
    homepage='https://www.robots.ox.ac.uk/~vgg/data/flowers/102/',
    terms=UNSTATED,
)
ORDERED = 'the order of TensorFlow Datasets; agrees with the lists published with VPT'


def _doubled(key: str) -> str:
    """Return 'a_b_7.jpg' from the key 'a_b_a_b_7.jpg'."""
    return key[len(key.rsplit('_', 1)[0]) // 2 + 1 :]


def _vtab(name: str, test: int, parse: Callable, **other) -> Task:
    known = VTAB1k.TASKS[name]
    return Task(
        name=name,
        group=known.group,
        folder=f'vtab-1k/{known.folder}',
        num_classes=known.num_classes,
        counts={'test': test},
        parse=parse,
        **{'split_note': ORDERED, **other},
    )


def _fgvc(name: str, counts: tuple[int, int, int], parse: Callable, **other) -> Task:
    known = FGVC.TASKS[name]
    return Task(
        name=name,
        group='fgvc',
        folder=f'fgvc/{known.folders[0]}',
        num_classes=known.num_classes,
        counts=dict(zip(('train', 'val', 'test'), counts)),
        parse=parse,
        unverified=('train', 'val', 'test'),
        **other,
    )


PARTS = Rule('train', 'validation', 'test')
TENTH = Rule('train[:90%]', 'train[90%:]', 'test')
FIFTHS = Rule('train[:60%]', 'train[60%:80%]', 'train[80%:]')
PCAM = 'camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5 or .h5.gz'

_TASKS = (
    _fgvc(
        'cub',
        (5394, 600, 5794),
        fgvc.parse_birds,
        archives=('CUB_200_2011.tgz', 'CUB_200_2011.tar.gz', 'CUB_200_2011.zip'),
        wants='CUB_200_2011.tgz or its folder',
        homepage='https://www.vision.caltech.edu/datasets/cub_200_2011/',
        terms=RESEARCH,
    ),
    _fgvc(
        'nabirds',
        (21536, 2393, 24633),
        fgvc.parse_birds,
        archives=('nabirds.tar.gz', 'nabirds.tgz', 'nabirds.zip'),
        wants='nabirds.tar.gz or its folder',
        homepage='https://dl.allaboutbirds.org/nabirds',
        terms='Own terms of the Cornell Lab, to be accepted there; no redistribution.',
    ),
    _fgvc('flowers', (1020, 1020, 6149), **FLOWERS),
    _fgvc(
        'dogs',
        (10800, 1200, 8580),
        fgvc.parse_dogs,
        archives=('images.tar', 'lists.tar'),
        wants='images.tar (or Images/), lists.tar (or train_list.mat, test_list.mat)',
        homepage='http://vision.stanford.edu/aditya86/ImageNetDogs/',
        terms='Images are from ImageNet: ' + RESEARCH,
    ),
    _fgvc(
        'cars',
        (7329, 815, 8041),
        fgvc.parse_cars,
        archives=('car_ims.tgz', 'cars_train.tgz', 'cars_test.tgz', 'car_devkit.tgz'),
        wants='car_ims.tgz and cars_annos.mat, or cars_train.tgz, cars_test.tgz, '
        'car_devkit.tgz and cars_test_annos_withlabels.mat',
        homepage='https://ai.stanford.edu/~jkrause/cars/car_dataset.html',
        terms=RESEARCH,
    ),
    _vtab(
        'cifar100',
        10000,
        arrays.parse_cifar,
        rule=TENTH,
        archives=('cifar-100-python.tar.gz', 'cifar-100-binary.tar.gz'),
        wants='cifar-100-python.tar.gz, cifar-100-binary.tar.gz or their folder',
        homepage='https://www.cs.toronto.edu/~kriz/cifar.html',
        terms='No licence is stated; cite the technical report.',
        unverified=('test',),
        options={'list_key': lambda key: f'train_{int(key):05d}'},
    ),
    _vtab(
        'caltech101',
        6084,
        folders.parse_caltech,
        rule=TENTH,
        archives=('caltech-101.zip', '101_ObjectCategories.tar.gz'),
        wants='caltech-101.zip, or 101_ObjectCategories with 102 folders',
        homepage='https://data.caltech.edu/records/mzrjq-6wc02',
        terms='CC BY 4.0.',
        official=False,
        split_note='30 images per class by a seeded draw are train, the others test; '
        'the published draw depended on a file system and is only in the dump',
    ),
    _vtab(
        'dtd',
        1880,
        folders.parse_dtd,
        rule=PARTS,
        archives=('dtd-r1.0.1.tar.gz', 'dtd-r1.0.1.tgz'),
        wants='dtd-r1.0.1.tar.gz or its folder with labels/ and images/',
        homepage='https://www.robots.ox.ac.uk/~vgg/data/dtd/',
        terms=RESEARCH,
    ),
    _vtab(
        'oxford_flowers102',
        6149,
        rule=PARTS,
        split_note=ORDERED,
        **FLOWERS,
    ),
    _vtab(
        'oxford_iiit_pet',
        3669,
        folders.parse_pets,
        rule=Rule('train[:80%]', 'train[80%:]', 'test'),
        archives=('images.tar.gz', 'annotations.tar.gz'),
        wants='images.tar.gz and annotations.tar.gz, or their folders',
        homepage='https://www.robots.ox.ac.uk/~vgg/data/pets/',
        terms='CC BY-SA 4.0.',
        unverified=('test',),
    ),
    _vtab(
        'svhn',
        26032,
        arrays.parse_svhn,
        rule=TENTH,
        archives=(),
        wants='train_32x32.mat and test_32x32.mat',
        homepage='http://ufldl.stanford.edu/housenumbers/',
        terms='Non-commercial use.',
        official=None,
        split_note=UNCONFIRMED,
    ),
    _vtab(
        'sun397',
        21750,
        folders.parse_sun,
        rule=PARTS,
        archives=('SUN397.tar.gz', 'SUN397.tgz', 'SUN397.tar'),
        wants='SUN397.tar.gz or its folder, and --splits with sun397_tfds_*.txt',
        homepage='https://vision.princeton.edu/projects/2010/SUN/',
        terms=UNSTATED,
        unverified=('test',),
    ),
    _vtab(
        'patch_camelyon',
        32768,
        arrays.parse_camelyon,
        rule=PARTS,
        archives=('camelyonpatch_level_2_split_*_?.h5.gz',),
        wants=f'{PCAM} (needs h5py)',
        homepage='https://github.com/basveeling/pcam',
        terms='CC0.',
        unverified=('test',),
    ),
    _vtab(
        'eurosat',
        5400,
        folders.parse_class_folders,
        rule=FIFTHS,
        archives=('EuroSAT.zip', 'EuroSAT_RGB.zip'),
        wants='EuroSAT.zip (RGB), or its folder of 10 class folders',
        homepage='https://github.com/phelber/EuroSAT',
        terms='MIT; Copernicus Sentinel data.',
        options={'classes': EUROSAT, 'list_key': _doubled},
    ),
    _vtab(
        'resisc45',
        6300,
        folders.parse_class_folders,
        rule=FIFTHS,
        archives=('NWPU-RESISC45.zip', 'NWPU-RESISC45.tar.gz', 'NWPU-RESISC45.rar'),
        wants='the unpacked NWPU-RESISC45.rar with 45 class folders, or a zip of it',
        homepage='https://gcheng-nwpu.github.io/#Datasets',
        terms=UNSTATED,
        options={'classes': RESISC45, 'list_key': _doubled},
    ),
    _vtab(
        'retinopathy',
        42670,
        scenes.parse_retinopathy,
        rule=PARTS,
        archives=('trainLabels.csv.zip', 'retinopathy_solution.csv.zip'),
        wants='train/*.jpeg, test/*.jpeg (the parts of the zip joined and unpacked), '
        'trainLabels.csv and retinopathy_solution.csv',
        homepage='https://www.kaggle.com/c/diabetic-retinopathy-detection/data',
        terms="The competition's rules, to be accepted there.",
    ),
    _vtab('clevr_count', 15000, options={'label': 'count'}, **CLEVR),
    _vtab('clevr_dist', 15000, options={'label': 'distance'}, **CLEVR),
    _vtab(
        'dmlab',
        22735,
        scenes.parse_dmlab,
        rule=PARTS,
        archives=('dmlab.tar.gz',),
        wants='dmlab.tar.gz, or its dmlab-{train,validation,test}.tfrecord* files',
        homepage='https://github.com/google-research/task_adaptation',
        terms='Apache-2.0 for the code; none is stated for the images.',
    ),
    _vtab(
        'kitti',
        711,
        scenes.parse_kitti,
        rule=PARTS,
        archives=(
            'data_object_image_2.zip',
            'data_object_label_2.zip',
            'devkit_object.zip',
        ),
        wants='data_object_image_2.zip, data_object_label_2.zip and devkit_object.zip',
        homepage='https://www.cvlibs.net/datasets/kitti/eval_object.php',
        terms='CC BY-NC-SA 3.0.',
        official=None,
        split_note='videos drawn as in TensorFlow Datasets, in its order; unconfirmed',
    ),
    _vtab('dsprites_loc', 73728, options={'latent': (4, 32)}, **DSPRITES),
    _vtab('dsprites_ori', 73728, options={'latent': (3, 40)}, **DSPRITES),
    _vtab('smallnorb_azi', 12150, options={'column': 'azimuth'}, **SMALLNORB),
    _vtab('smallnorb_ele', 12150, options={'column': 'elevation'}, **SMALLNORB),
    Task(
        name='ade20k',
        group='segmentation',
        folder='ade/ADEChallengeData2016',
        num_classes=150,
        counts={'train': 20210, 'val': 2000},
        parse=segmentation.parse_ade,
        archives=('ADEChallengeData2016.zip',),
        wants='ADEChallengeData2016.zip or its folder',
        homepage='http://sceneparsing.csail.mit.edu/',
        terms='BSD-3 for the annotations; images for non-commercial research.',
        options={
            'highest': 150,
            'images': ('images/training', 'images/validation'),
            'maps': ('annotations/training', 'annotations/validation'),
        },
    ),
    Task(
        name='pascal_context',
        group='segmentation',
        folder='VOCdevkit/VOC2010',
        num_classes=60,
        counts={'train': 4998, 'val': 5105},
        parse=segmentation.parse_context,
        archives=('VOCtrainval_03-May-2010.tar', 'trainval.tar.gz'),
        wants="VOC2010's VOCtrainval_03-May-2010.tar and Pascal Context's "
        'trainval.tar.gz, or VOC2010 as converted by mmsegmentation',
        homepage='https://cs.stanford.edu/~roozbeh/pascal-context/',
        terms='Flickr terms for the images; none is stated for the annotations.',
        unverified=('train', 'val'),
        options={'highest': 59, 'lists': 'ImageSets/SegmentationContext'},
    ),
)
TASKS: dict[str, Task] = {task.name: task for task in _TASKS}


def find_task(name: str) -> Task:
    """Return the task of that name.

    Raises:
        RefusedError: If there is none.
    """
    if name not in TASKS:
        close = difflib.get_close_matches(name, TASKS, n=1)
        raise RefusedError(
            f'Unknown task {name!r}'
            + (f', did you mean {close[0]!r}? ' if close else '. ')
            + f'Tasks are {", ".join(TASKS)}.'
        )
    return TASKS[name]
