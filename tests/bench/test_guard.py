# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Leaks that are planted are refused, or labelled."""

import copy
import shutil

import pytest
from mmengine.config import Config

from mmvpt.bench import (
    LeakError,
    apply_protocol,
    get_protocol,
    inspect_data,
    list_images,
    metric_of,
    refuse_other_draws,
    summarize,
)
from tests.engine import miniature

METRIC = 'accuracy/top1'
HOOK = 'default_hooks__checkpoint__'


@pytest.fixture
def data(tmp_path):
    return miniature.write_data(tmp_path)


def look(config, name='own', stage='final', **kwargs):
    protocol = get_protocol(name)
    before = dict(test_dataloader=copy.deepcopy(config.test_dataloader))
    apply_protocol(config, protocol, stage, METRIC)
    return inspect_data(config, protocol, stage, before, **kwargs)


def lines(data, name):
    return (data / f'{name}.txt').read_text().splitlines()


def append(data, name, *more):
    (data / f'{name}.txt').write_text('\n'.join([*lines(data, name), *more]) + '\n')


@pytest.mark.parametrize('stage', ['search', 'final'])
def test_clean_data_is_described(data, stage):
    config = miniature.config(data)
    found = look(config, stage=stage)
    assert [found[part]['images'] for part in ('train', 'val', 'test')] == [24, 9, 9]
    assert found['overlaps'] == dict(train_test=0, val_test=0, train_val=0)
    assert found['duplicates'] == 0
    files = [data / line.split()[0] for line in lines(data, 'test')]
    assert found['test']['bytes'] == sum(file.stat().st_size for file in files)
    assert config.test_dataloader is config.test_cfg is config.test_evaluator is None


def test_a_test_image_among_the_training_images(data):
    append(data, 'train800', lines(data, 'test')[3])
    for stage in ('search', 'final'):
        with pytest.raises(
            LeakError, match='training data holds test images .1 images'
        ):
            look(miniature.config(data), stage=stage)
    miniature.write_all(data)
    with pytest.raises(LeakError, match='training data'):
        look(miniature.config(data), 'davpt-paper')


def test_a_test_image_under_another_path(data):
    (data / 'other').symlink_to(data / 'images')
    append(data, 'train800', lines(data, 'test')[0].replace('images/', 'other/'))
    with pytest.raises(LeakError, match='training data holds test images'):
        look(miniature.config(data))


def test_copies_of_test_images(data):
    name, label = lines(data, 'test')[0].split()
    shutil.copy(data / name, data / 'images/innocent.png')
    append(data, 'val200', f'images/innocent.png {label}')
    with pytest.raises(LeakError, match='1 training or validation images are copies'):
        look(miniature.config(data))
    found = look(miniature.config(data), accepted_duplicates=1)
    assert (found['duplicates'], found['accepted_duplicates']) == (1, 1)


@pytest.mark.parametrize('name', ['own', 'own-best-val'])
@pytest.mark.parametrize('stage', ['search', 'final'])
def test_a_test_selected_epoch(data, name, stage):
    """Validation reads the test list, by name or by content."""
    changes = dict(val_dataloader__dataset__split='test')
    if name == 'own-best-val' or stage == 'search':
        changes[f'{HOOK}save_best'] = METRIC
    config = miniature.config(data, **changes)
    with pytest.raises(LeakError, match='validation reads test images') as error:
        look(config, name, stage)
    if name == 'own-best-val' and stage == 'final':
        assert 'the epoch (save_best)' in str(error.value)
    (data / 'val200.txt').write_text((data / 'test.txt').read_text())
    with pytest.raises(LeakError, match='chosen by test data'):
        look(miniature.config(data), name, stage)


def test_stopping_by_test_data_is_named(data):
    hook = dict(type='EarlyStoppingHook', monitor=METRIC)
    config = miniature.config(
        data, val_dataloader__dataset__split='test', custom_hooks=[hook]
    )
    with pytest.raises(LeakError, match='EarlyStoppingHook'):
        look(config)


def test_the_last_epoch_counts_where_the_protocol_says_so(data):
    config = miniature.config(data, **{f'{HOOK}save_best': METRIC})
    with pytest.raises(ValueError, match='has save_best'):
        look(config)
    miniature.write_all(data)
    config = miniature.config(data, **{f'{HOOK}save_best': METRIC})
    look(config, 'vpt')
    assert 'save_best' not in config.default_hooks.checkpoint
    assert config.val_dataloader is None
    assert config.train_dataloader.dataset.split == 'train800val200'


def test_test_images_in_a_hook(data):
    loader = miniature.config(data).test_dataloader
    config = miniature.config(data, custom_hooks=[dict(type='Peek', loader=loader)])
    with pytest.raises(LeakError, match='custom_hooks.0.loader.dataset reads test'):
        look(config)


def test_notes_of_a_config_build_nothing(data):
    """Configs make data sets from fields that no runner reads."""
    note = miniature.config(data).test_dataloader.dataset
    look(miniature.config(data, files=note))
    with pytest.raises(LeakError, match='files reads test images'):
        look(miniature.config(data, files=note, runner_type='Own'))
    with pytest.raises(LeakError, match='train_cfg.peek reads test images'):
        look(miniature.config(data, train_cfg__peek=note))


def test_test_images_within_wrappers(data):
    config = miniature.config(data)
    inner = [config.train_dataloader.dataset, config.test_dataloader.dataset]
    config.train_dataloader.dataset = dict(type='ConcatDataset', datasets=inner)
    with pytest.raises(LeakError, match='training data holds test images'):
        look(config)


def test_validation_images_that_train(data):
    append(data, 'train800', lines(data, 'val200')[0])
    with pytest.raises(LeakError, match='validation images train'):
        look(miniature.config(data), stage='search')


def test_weights_of_another_run(data):
    for key in ('load_from', 'resume'):
        config = miniature.config(data, **{key: 'best_test_epoch.pth'})
        with pytest.raises(ValueError, match=f'{key} is set'):
            look(config)


def test_the_paper_that_selects_on_test_is_labelled(data):
    miniature.write_all(data)
    config = miniature.config(data)
    found = look(config, 'davpt-paper')
    assert found['overlaps']['val_test'] == 9
    assert config.default_hooks.checkpoint.save_best == METRIC
    assert config.val_dataloader.dataset.split == 'test'
    protocol = get_protocol('davpt-paper')
    assert not protocol.leak_free and protocol.label == 'test-selected'
    with pytest.raises(ValueError, match='searches nothing'):
        look(miniature.config(data), 'davpt-paper', 'search')


def test_a_search_without_validation_split(data):
    config = miniature.config(data, val_dataloader=None)
    with pytest.raises(ValueError, match='no validation split'):
        look(config, stage='search')
    # the layout of VTAB-1k has one by name
    config = miniature.config(data, val_dataloader=None)
    found = look(config, 'vpt', 'search')
    assert found['val']['images'] == 9
    assert config.train_dataloader.dataset.split == 'train800'


def test_a_search_on_images_that_another_seed_tests(data, tmp_path):
    config = miniature.config(data)
    look(config, stage='search')
    refuse_other_draws(config, [miniature.config(data)])  # the same test images
    other = tmp_path / 'other'
    shutil.copytree(data, other)  # equal images in another folder, as demos draw them
    refuse_other_draws(config, [miniature.config(other)])
    for name, count in (('train800', 1), ('val200', 2)):
        append(other, 'test', lines(data, name)[0])
        with pytest.raises(LeakError, match=f'{count} .*test images with another seed'):
            refuse_other_draws(config, [miniature.config(other)])
    refuse_other_draws(config, [miniature.config(other)], accepted_duplicates=2)
    append(data, 'test', lines(data, 'val200')[0])  # the very same file
    with pytest.raises(LeakError, match='1 training'):
        refuse_other_draws(config, [miniature.config(data)], accepted_duplicates=2)


def test_unknown_names():
    with pytest.raises(ValueError, match="did you mean 'vpt'|Did you mean 'vpt'"):
        get_protocol('vpd')
    with pytest.raises(ValueError, match='no metric to select by'):
        metric_of(dict(test_evaluator=dict(type='Other')))


def test_a_digest_stays_when_the_data_moves(tmp_path):
    """Labels count, whether numbers or masks; the folder of the data does not."""
    digests = set()
    for place in ('here', 'there'):
        for split in ('images/training', 'annotations/training'):
            (tmp_path / place / split).mkdir(parents=True)
            for name in ('a.png', 'b.png'):
                (tmp_path / place / split / name).write_bytes(b'picture')
        dataset = dict(
            type='mmseg.BaseSegDataset',
            data_root=str(tmp_path / place),
            img_suffix='.png',
            metainfo=dict(classes=('c',), palette=[[0, 0, 0]]),
            data_prefix=dict(
                img_path='images/training', seg_map_path='annotations/training'
            ),
        )
        config = Config(
            dict(default_scope='mmseg', train_dataloader=dict(dataset=dataset))
        )
        found = summarize(list_images(config, dict(test_dataloader=None)))
        digests.add(found['train']['sha256'])
    assert len(digests) == 1
