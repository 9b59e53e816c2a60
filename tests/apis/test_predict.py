# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Images in, typed results, tables, JSON and pictures out."""

import copy
import csv
import json
import os
import shutil
from contextlib import nullcontext

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

import mmvpt
from mmvpt.apis import (
    Classification,
    ImageError,
    Predictions,
    Segmentation,
    limits,
    predict_to_folder,
)
from mmvpt.apis.folder import _names
from mmvpt.apis.images import Source
from mmvpt.checkpoint import CheckpointError
from tests.apis.test_images import KINDS, broken, write
from tests.apis.tuned_runs import PALETTE
from tests.tools.programs import load_tool

predict_tool = load_tool('predict')


@pytest.fixture(scope='module')
def classifier(trained_classifier):
    return mmvpt.load(trained_classifier / 'run/epoch_1.pth', device='cpu')


@pytest.fixture(scope='module')
def segmentor(trained_segmentor):
    return mmvpt.load(trained_segmentor / 'run/iter_2.pth', device='cpu')


def resized(model):
    """Let the classifier take images of any size, as real test pipelines do."""
    config = copy.deepcopy(model.config)
    pipeline = config.test_dataloader.dataset.pipeline
    pipeline.insert(1, dict(type='Resize', scale=(32, 32)))
    return type(model)(model.model, config, model.tuned)


def test_classification(classifier, trained_classifier):
    files = sorted((trained_classifier / 'data/images').glob('test_*.png'))
    found = classifier.predict(files, progress=True)
    assert isinstance(found, Predictions) and len(found) == len(files) == 9
    first = found[0]
    assert isinstance(first, Classification) and first.source == str(files[0])
    assert first.scores.shape == (3,) and first.scores.sum() == pytest.approx(1)
    assert first.top(2)[0] == (first.class_name, first.score)
    assert [name for name, _ in first.top()] != []
    assert classifier.class_names == ('a', 'b', 'c') and 'Classification(' in str(found)
    by_folder = classifier.predict(trained_classifier / 'data/images')
    assert {result.source for result in by_folder} >= {path.name for path in files}


def test_arrays_and_pil_images_equal_files(classifier, trained_classifier):
    path = trained_classifier / 'data/images/test_0.png'
    rgb = np.asarray(Image.open(path))
    for image, order in (
        (path, 'rgb'),
        (str(path), 'bgr'),
        (rgb, 'rgb'),
        (rgb[..., ::-1], 'bgr'),
        (rgb.astype(np.uint16) << 8, 'rgb'),
        (Image.open(path), 'rgb'),
        (Image.open(path), 'bgr'),
    ):
        (one,) = classifier.predict(image, channels=order)
        (other,) = classifier.predict([path])
        assert np.array_equal(one.scores, other.scores)


def test_files_and_pil_images_are_the_same(segmentor, tmp_path):
    """Also of kinds that OpenCV reads otherwise: alpha in TIFF, GIF, Lab."""
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 256, (24, 20, 4), dtype=np.uint8), 'RGBA')
    paths = [tmp_path / name for name in ('a.tif', 'a.gif', 'a.png', 'lab.tif')]
    for path in paths:
        (rgba.convert('RGB').convert('LAB') if 'lab' in path.name else rgba).save(path)
        (one,) = segmentor.predict(path)
        (other,) = segmentor.predict(Image.open(path))
        assert np.array_equal(one.mask, other.mask) and one.mask.shape == (24, 20)
        assert np.array_equal(
            segmentor._sample(Source('x', path), 'rgb')['inputs'],
            segmentor._sample(Source('x', Image.open(path)), 'rgb')['inputs'],
        )


def test_images_of_several_sizes_keep_their_order(segmentor, trained_segmentor):
    files = sorted((trained_segmentor / 'scenes/images').glob('*.png'))
    single = [segmentor.predict(file)[0] for file in files]
    together = segmentor.predict(files, batch_size=4)
    for one, other, file in zip(single, together, files):
        assert isinstance(one, Segmentation) and other.source == str(file)
        assert one.mask.shape == cv2.imread(str(file)).shape[:2]
        assert (one.mask == other.mask).mean() > 0.99  # batches round differently
        shares = dict(one.shares)
        assert sum(shares.values()) == pytest.approx(1)
        assert shares[2] == (one.mask == 2).mean() if 2 in shares else True


def test_unreadable_images_raise_or_are_collected(classifier, tmp_path):
    broken(tmp_path)
    with pytest.raises(ImageError, match=r'bomb\.png was not read'):
        classifier.predict(tmp_path)
    found = classifier.predict(tmp_path, errors='collect')
    assert not found.results and len(found.unreadable) == 9
    for item in found.unreadable:
        assert item.source in item.reason
    with pytest.raises(ValueError, match="'raise' or 'collect'"):
        classifier.predict(tmp_path, errors='ignore')
    with pytest.raises(ValueError, match='batch_size must be'):
        classifier.predict(tmp_path, batch_size=0)
    with pytest.raises(ValueError, match="one of 'rgb', 'bgr'; got 'gbr'"):
        classifier.predict(tmp_path, channels='gbr')


def test_sizes_that_the_pipeline_cannot_take_are_named(classifier, tmp_path):
    """A batch of unlike sizes runs; the pipeline's own errors name the image."""
    for size in ((1, 1), (3000, 20), (20, 3000)):
        path = tmp_path / f'{size[0]}.png'
        Image.new('RGB', size, (9, 90, 200)).save(path)
    model = resized(classifier)
    assert len(model.predict(tmp_path)) == 3
    model._pipeline.transforms[0].scale_factor = 0
    with pytest.raises(ImageError, match='cannot go through the test pipeline'):
        model._pipeline.transforms[0].scale = None
        model.predict(tmp_path)


def test_images_too_large_for_the_model_are_named(classifier, tmp_path):
    """Without a resize in the pipeline the model would run for hours."""
    Image.new('RGB', (9000, 9000)).save(tmp_path / 'large.png', compress_level=1)
    found = classifier.predict(tmp_path, errors='collect')
    assert '9000 x 9000 pixels' in found.unreadable[0].reason
    assert 'put a Resize into the test pipeline' in found.unreadable[0].reason
    assert len(resized(classifier).predict(tmp_path)) == 1


def test_masks_too_large_for_memory_are_named(segmentor, tmp_path, monkeypatch):
    image = np.zeros((60, 50, 3), np.uint8)
    monkeypatch.setattr(limits, 'MAX_SCORES', 4 * 60 * 50)
    assert segmentor.predict(image)[0].mask.shape == (60, 50)
    monkeypatch.setattr(limits, 'MAX_SCORES', 4 * 60 * 50 - 1)
    with pytest.raises(ImageError, match='get 12,000 scores; at most 11,999'):
        segmentor.predict(image)
    monkeypatch.setattr(limits, 'MAX_PATCHES', 4)
    with pytest.raises(ImageError, match='patches; at most 4 are run'):
        segmentor.predict(image)
    monkeypatch.undo()
    monkeypatch.setattr(limits, 'MAX_PATCHES', 4)
    monkeypatch.setitem(segmentor.model.test_cfg, 'mode', 'slide')
    for key, value in dict(crop_size=(16, 16), stride=(16, 16)).items():
        monkeypatch.setitem(segmentor.model.test_cfg, key, value)
    assert segmentor.predict(image)[0].mask.shape == (60, 50)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Images of all kinds and files that are none."""
    root = tmp_path_factory.mktemp('images')
    (root / 'good').mkdir()
    for kind in KINDS:
        write(root / 'good' / kind.replace('.', f'-{len(kind)}.', 1), kind)
    Image.new('RGB', (1, 1)).save(root / 'good/one-pixel.png')
    Image.new('RGB', (1600, 1200)).save(root / 'good/large.jpg')
    (root / 'bad').mkdir()
    broken(root / 'bad')
    return root


def run(trained, *args):
    """Run tools/predict.py and return its exit status."""
    names = dict(
        trained_classifier='run/epoch_1.pth', trained_segmentor='run/iter_2.pth'
    )
    checkpoint = next(trained / n for n in names.values() if (trained / n).exists())
    try:
        predict_tool.main([str(checkpoint), *map(str, args)])
    except SystemExit as stop:
        return stop.code
    return 0


def test_tool_segments_a_folder(trained_segmentor, folder, tmp_path, capsys):
    assert run(trained_segmentor, folder, '--out', tmp_path) == 0
    printed = capsys.readouterr()
    good = [path for path in (folder / 'good').iterdir()]
    assert f'{len(good)} of {len(good) + 9} images predicted' in printed.out
    for name in ('notes.txt', 'cut.jpg', 'bomb.png', 'float.tif', 'empty.png'):
        assert name in printed.err
    content = json.loads((tmp_path / 'predictions.json').read_text())
    assert len(content['results']) == len(good) and len(content['unreadable']) == 9
    rows = list(csv.DictReader((tmp_path / 'predictions.csv').open()))
    assert {row['image'] for row in rows} == {f'good/{path.name}' for path in good}
    for path in good:
        mask = Image.open(tmp_path / 'good' / f'{path.name}.mask.png')
        over = Image.open(tmp_path / 'good' / f'{path.name}.png')
        with Image.open(path) as image:
            size = ImageOps.exif_transpose(image).size
        assert mask.size == over.size == size
        assert np.asarray(mask).max() < 4
        assert tuple(mask.getpalette()[3:6]) == PALETTE[1]
    assert run(trained_segmentor, folder, '--out', tmp_path, '--strict') == 1


def test_tool_classifies(trained_classifier, folder, tmp_path, capsys):
    images = trained_classifier / 'data/images'
    assert run(trained_classifier, images, '--out', tmp_path, '--pictures') == 0
    rows = list(csv.DictReader((tmp_path / 'predictions.csv').open()))
    assert len(rows) == 42 and set(rows[0]) == {'image', 'label', 'class_name', 'score'}
    assert len(list(tmp_path.glob('*.png'))) == 42
    assert run(trained_classifier, folder / 'bad', '--out', tmp_path) == 1
    assert 'unreadable: ' in capsys.readouterr().err


def test_tool_takes_a_config_and_its_checkpoint(trained_classifier, tmp_path):
    from tests.apis.tuned_runs import classifier as config_of

    config = tmp_path / 'config.py'
    config_of(trained_classifier).dump(str(config))
    image = trained_classifier / 'data/images/test_0.png'
    weights = ('--weights', str(trained_classifier / 'run/epoch_1.pth'))
    args = [str(config), str(image), '--out', str(tmp_path / 'out'), *weights]
    predict_tool.main(args)
    assert (tmp_path / 'out/predictions.csv').is_file()
    with pytest.raises(CheckpointError, match='give the checkpoint too'):
        predict_tool.main(args[:4])


def test_frozen_weights_are_found_beside_a_release(trained_classifier, tmp_path):
    from mmvpt.apis import publish

    release = publish(trained_classifier / 'run/epoch_1.pth', tmp_path)
    shutil.copy(trained_classifier / 'vit.pth', tmp_path)
    assert mmvpt.load(release).class_names == ('a', 'b', 'c')


@pytest.mark.parametrize(
    ('given', 'names'),
    [
        (['a/b.png', 'b.png', '../../c.png'], {'a/b.png', 'b.png', 'c.png'}),
        (['/x/north/0.png', '/x/south/0.png'], {'north/0.png', 'south/0.png'}),
        (['/x/A.png', '/x/a.png'], {'A.png.', 'a.png.'}),  # one file on some systems
    ],
)
def test_pictures_have_names_of_their_own(given, names):
    found = _names([Source(name, name) for name in given])
    assert set(found.values()) == names or len(set(found.values())) == len(given)
    assert not any(name.startswith(('/', '..')) for name in found.values())


def test_results_below_the_images_are_no_images(tmp_path, trained_classifier):
    model = mmvpt.load(trained_classifier / 'run/epoch_1.pth')
    photos = tmp_path / 'photos'
    photos.mkdir()
    image = Image.fromarray(np.zeros((16, 16, 3), dtype=np.uint8))
    image.save(photos / 'a.png')
    image.save(os.fsdecode(bytes(photos) + b'/\xff.png'))  # no UTF-8
    for _ in range(2):
        summary = predict_to_folder(model, [photos], photos / 'out', pictures=True)
        assert summary.predicted == 2 and not summary.unreadable
    assert b'\n\xff.png,' in (photos / 'out/predictions.csv').read_bytes()
    with pytest.raises(ValueError, match='is a file'):
        predict_to_folder(model, [photos], photos / 'a.png')


@pytest.mark.parametrize('error', [RuntimeError('too small'), KeyboardInterrupt()])
def test_what_is_finished_stays(segmentor, tmp_path, monkeypatch, error):
    """Also if the model fails at an image, or a person has seen enough."""
    for i in range(3):
        Image.new('RGB', (32, 24), (9, 99, i)).save(tmp_path / f'{i}.png')
    real, calls = segmentor.model.test_step, []

    def step(data):
        calls.append(1)
        if len(calls) == 2:
            raise error
        return real(data)

    monkeypatch.setattr(segmentor.model, 'test_step', step)
    goes_on = isinstance(error, Exception)
    with nullcontext() if goes_on else pytest.raises(KeyboardInterrupt):
        predict_to_folder(segmentor, [tmp_path], tmp_path / 'out', batch_size=1)
    found = json.loads((tmp_path / 'out/predictions.json').read_text())
    done = ['0.png', '2.png'] if goes_on else ['0.png']
    assert [result['image'] for result in found['results']] == done
    assert [item['source'] for item in found['unreadable']] == ['1.png'] * goes_on
    masks = {p.name for p in (tmp_path / 'out').glob('*.mask.png')}
    assert masks == {f'{name}.mask.png' for name in done}
