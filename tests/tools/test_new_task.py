# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Own data, from a folder to a tested model."""

import copy
import os
import shutil
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope

from tests.datasets.own.pictures import class_folders, pairs, picture
from tests.tools.programs import ROOT, load_tool, test_tool, train_tool

sys.path.insert(0, str(ROOT))

from mmvpt.engine.checks import check  # noqa: E402
from mmvpt.errors import UserError  # noqa: E402
from mmvpt.weights import convert_file  # noqa: E402
from mmvpt.zoo import new_task as writer  # noqa: E402
from mmvpt.zoo import own as recipe  # noqa: E402

new_task, predict = load_tool('new_task'), load_tool('predict')
HEADS = ('', 'decode_', 'auxiliary_')


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tree(folder):
    """Return the content of every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def fails(*args):
    """Run the tool in the working directory and return what it says."""
    with pytest.raises(UserError) as error:
        new_task.main([str(arg) for arg in args])
    return str(error.value)


def make_small(config, **changes):
    """Save a config with a ViT of width 16 and return where."""
    small = Config.fromfile(config)
    backbone = small.model.backbone
    backbone.arch = dict(
        embed_dims=16, num_layers=4, num_heads=2, feedforward_channels=32
    )
    backbone.update(img_size=32, init_cfg=None)
    if 'out_indices' in backbone:
        backbone.out_indices = (0, 1, 2, 3)
    if 'guided_layers' in backbone.get('prompt', ()):
        backbone.prompt.guided_layers = (-1,)
    small.param_scheduler = None
    for split in ('train', 'val', 'test'):
        small[f'{split}_dataloader'].num_workers = 0
    small.merge_from_dict({key.replace('__', '.'): v for key, v in changes.items()})
    small.dump('small.py')
    return 'small.py'


@pytest.mark.parametrize('method', ['davpt-plus', 'vpt-deep'])
def test_classes_train(here, capsys, method):
    data = class_folders(here / 'my photos', rose=8, tulip=5, lily=3)
    before = tree(data)
    config = new_task.main(['my photos', '--method', method])
    assert tree(data) == before
    assert str(config) == 'configs/own/my-photos.py'
    printed = capsys.readouterr().out
    assert '3 classes, train 10, val 3, test 3 images: data/own/my-photos' in printed
    assert f'python tools/train.py {config}' in printed
    assert 'work_dirs/my-photos/epoch_100.pth' in printed
    written = Config.fromfile(config)
    assert written.train_dataloader.dataset.image_root == 'my photos'
    assert written.train_dataloader.batch_size == 8

    small = make_small(config, model__head__in_channels=16, train_cfg__max_epochs=1)
    runner = train_tool.main([small, '--work-dir', 'work'])
    dataset = runner.train_dataloader.dataset
    assert dataset.metainfo['classes'] == ('lily', 'rose', 'tulip')
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        name = dataset.metainfo['classes'][info['gt_label']]
        assert info['img_path'].startswith(f'my photos/{name}/')
    metrics = test_tool.main([small, 'work/epoch_1.pth', '--work-dir', 'test'])
    assert 0 <= metrics['accuracy/top1'] <= 100
    predict.main(['work/epoch_1.pth', 'my photos', '--out', 'predicted'])
    rows = (here / 'predicted/predictions.csv').read_text().splitlines()
    assert len(rows) == 17  # every image, and the header
    assert {row.split(',')[2] for row in rows[1:]} <= {'lily', 'rose', 'tulip'}


def test_masks_train(here, capsys):
    data = pairs(here / 'scenes', 12)
    before = tree(data)
    config = new_task.main(['scenes'])
    assert tree(data) == before
    printed = capsys.readouterr().out
    assert '3 classes, train 8, val 2, test 2' in printed
    assert 'work_dirs/scenes/iter_2000.pth' in printed
    written = Config.fromfile(config)
    assert written.train_cfg.max_iters == written.param_scheduler[-1].end == 2000
    for loader in (written.train_dataloader, written.test_dataloader):
        steps = {step.type: step for step in loader.dataset.pipeline}
        assert steps['mmvpt.CheckSegMap'].num_classes == 3

    steps = [dict(type=f'Load{name}') for name in ('ImageFromFile', 'Annotations')]
    steps += [dict(type='Resize', scale=(32, 32)), dict(type='PackSegInputs')]
    small = make_small(
        config,
        model__data_preprocessor__size=(32, 32),
        model__neck=dict(in_channels=[16] * 4, out_channels=16),
        model__decode_head=dict(in_channels=[16] * 4, channels=8),
        model__auxiliary_head=dict(in_channels=16, channels=8),
        train_cfg=dict(max_iters=2, val_interval=2),
        train_dataloader__dataset__pipeline=steps,
        train_dataloader__batch_size=4,
        default_hooks__checkpoint__interval=2,
    )
    runner = train_tool.main([small, '--work-dir', 'work'])
    dataset = runner.train_dataloader.dataset
    assert dataset.metainfo['classes'] == ('0', '1', '2')
    assert dataset.get_data_info(0)['img_path'].startswith('scenes/images/')
    metrics = test_tool.main([small, 'work/iter_2.pth', '--work-dir', 'test'])
    assert 0 <= metrics['mIoU'] <= 100
    predict.main(['work/iter_2.pth', 'scenes/images', '--out', 'predicted'])
    assert len(list((here / 'predicted').rglob('*.png'))) >= 12


def test_table_with_splits(here, capsys):
    class_folders(here / 'all', a=3, b=3)
    lines = [
        f'{name}/{i}.png,{name},{split}'
        for name in 'ab'
        for i, split in enumerate(('train', 'train', 'val'))
    ]
    (here / 'birds.csv').write_text('\n'.join(['path,class,split', *lines]))
    config = new_task.main(['birds.csv', '--image-root', 'all', '--method', 'linear'])
    assert '2 classes, train 4, val 2 images' in capsys.readouterr().out
    assert (here / 'data/own/birds/val.txt').read_text() == 'a/2.png 0\nb/2.png 1\n'
    written = Config.fromfile(config)
    assert written.test_dataloader.dataset.split == 'val'
    assert tuple(written.test_evaluator.topk) == (1,)


def test_same_command_same_files(here):
    class_folders(here / 'x', a=9, b=9)
    new_task.main(['x'])
    first = tree(here)
    assert 'configs/own/x.py exists' in fails('x')
    new_task.main(['x', '--overwrite'])
    second = tree(here)
    command = here / 'configs/own/x.py'
    assert second.pop(command) != first.pop(command)  # names the option
    assert second == first
    new_task.main(['x', '--overwrite', '--seed', '1'])
    assert tree(here) != first


@pytest.mark.parametrize(
    'step', [9, pytest.param(1, marks=pytest.mark.sweep)], ids=['some', 'all']
)
def test_every_config_of_the_zoo_can_be_inherited(here, step):
    class_folders(here / 'x', a=2, b=2)
    pairs(here / 'y', 4)
    for data, kind, num_classes in (
        ('x', 'classification', 2),
        ('y', 'segmentation', 3),
    ):
        known = [(m, b) for m, of in recipe.available(kind).items() for b in of]
        for method, backbone in known[::step]:
            options = ('--method', method, '--backbone', backbone, '--overwrite')
            config = Config.fromfile(new_task.main([data, *options]))
            lists = config.test_dataloader.dataset
            lists = lists.get('data_root') or lists.ann_file
            assert lists.startswith('data/own/'), (method, backbone)
            heads = [config.model.get(f'{key}head') for key in HEADS]
            flat = sum(([h] if isinstance(h, dict) else h or [] for h in heads), [])
            found = {head.num_classes for head in flat}
            assert found == {num_classes}, (method, backbone)


def test_methods_and_backbones():
    assert 'davpt-plus' in recipe.available('segmentation')
    assert next(iter(recipe.available()['vpt-deep'])) == 'in21k'
    assert recipe.choose('vpt-deep', 'vit-b_mae') == recipe.choose('vpt-deep', 'mae')


def build(config):
    """Build the model of a config without its weights."""
    model = copy.deepcopy(config.model)
    model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope(config.default_scope):
        return MODELS.build(model)


def test_any_backbone(here):
    class_folders(here / 'x', a=2, b=2)
    options = ('x', '--overwrite', '--method', 'davpt-plus', '--backbone')
    config = Config.fromfile(new_task.main([*options, 'vit-s']))
    assert build(config).head.fc.in_features == 384
    config = Config.fromfile(new_task.main([*options, 'dinov2-small']))
    assert build(config).backbone.patch_embed.projection.stride == (14, 14)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        arch = dict(
            embed_dims=192, num_layers=12, num_heads=3, feedforward_channels=768
        )
        kind = 'mmvpt.PromptedVisionTransformer'
        vit = MODELS.build(dict(type=kind, arch=arch, img_size=32, patch_size=8))
        dinov2 = MODELS.build(dict(type=kind, arch='dinov2-s', img_size=28))
    torch.save(vit.state_dict(), 'raw.pth')
    message = fails(*options, 'raw.pth')
    assert 'does not tell how' in message and '--normalization {imagenet,' in message
    convert_file('raw.pth', 'tiny.pth', normalization='half')
    config = Config.fromfile(new_task.main([*options, 'tiny.pth']))
    backbone = config.model.backbone
    assert backbone.init_cfg == dict(type='Pretrained', checkpoint='tiny.pth')
    assert (backbone.img_size, backbone.patch_size) == (32, 8)
    assert build(config).backbone.pos_embed.shape == vit.pos_embed.shape
    torch.save(dinov2.state_dict(), 'raw.pth')
    convert_file('raw.pth', 'dinov2.pth', normalization='imagenet')
    config = Config.fromfile(new_task.main([*options, 'dinov2.pth']))
    backbone = config.model.backbone
    assert (backbone.arch, backbone.img_size) == ('dinov2-s', 28)
    assert build(config).backbone.patch_embed.projection.stride == (14, 14)
    other = ROOT / 'configs/_base_/models/vit-base-p16_mae.py'
    config = Config.fromfile(new_task.main([*options, str(other)]))
    expected = Config.fromfile(other).model.backbone.init_cfg
    assert config.model.backbone.init_cfg == expected
    assert config.model.backbone.prompt.num_classes == 2  # the method's prompt stays
    message = fails(*options, 'vit-gigantic')
    assert 'augreg-in21k' in message and 'timm://NAME' in message


def test_any_backbone_for_masks(here):
    pairs(here / 'y', 4)
    for arch, dims, layers in (('vit-s', 384, 12), ('vit-l', 1024, 24)):
        options = ('--overwrite', '--method', 'vpt-deep', '--backbone', arch)
        config = Config.fromfile(new_task.main(['y', *options]))
        backbone, neck = config.model.backbone, config.model.neck
        assert backbone.out_indices[-1] == layers - 1
        assert neck.in_channels == [dims] * 4
        assert config.model.decode_head.in_channels == [neck.out_channels] * 4


@pytest.mark.parametrize(
    ('head', 'backbone', 'method'),
    [
        ('linear', 'dinov3-b', 'davpt-plus'),
        ('upernet', 'siglip2-l', 'davpt-plus'),
        ('mask2former', 'dinov2-reg-b', 'lora'),
        ('setr-pup', None, 'vpt-deep'),
    ],
)
def test_heads_for_masks(here, head, backbone, method):
    """Every head on a newer backbone, with the classes of the masks."""
    pairs(here / 'y', 4)
    args = ['y', '--head', head, '--method', method]
    config = Config.fromfile(
        new_task.main(args + (['--backbone', backbone] if backbone else []))
    )
    model = config.model
    heads = [model.decode_head, *(model.get('auxiliary_head') or [])]
    if isinstance(model.get('auxiliary_head'), dict):
        heads = [model.decode_head, model.auxiliary_head]
    assert {part.num_classes for part in heads} == {3}
    if head == 'mask2former':
        assert model.decode_head.loss_cls.class_weight == [1.0] * 3 + [0.1]
        assert model.data_preprocessor.size == (518, 518)
    else:
        check(config)
    if method == 'davpt-plus':
        assert model.backbone.prompt.num_classes == 3
        weight = config.default_hooks.metric_guidance.cls_weight
        assert (weight == 0) == (backbone == 'siglip2-l')
        assert 'checkpoint' in config.default_hooks


def test_photographs_are_normalised_as_the_backbone_was(here):
    class_folders(here / 'x', a=2, b=2)
    config = Config.fromfile(new_task.main(['x', '--backbone', 'siglip2-b']))
    check(config)
    assert config.data_preprocessor.mean == [127.5] * 3
    assert config.model.backbone.init_cfg.checkpoint.endswith('siglip2-256')


@pytest.mark.parametrize('form', [('{}/images', '{}/masks'), ('{}', '{}annot')])
def test_masks_below_splits(here, form):
    for split, count in (('train', 5), ('test', 2)):
        pairs(here / 'y', count, folders=[part.format(split) for part in form])
    config = Config.fromfile(new_task.main(['y', '--method', 'vpt-deep']))
    with DefaultScope.overwrite_default_scope('mmseg'):
        counts = []
        for stage in ('train', 'val', 'test'):
            data = DATASETS.build(
                dict(config[f'{stage}_dataloader'].dataset, pipeline=[])
            )
            assert all(
                os.path.isfile(data[i][key])
                for i in range(len(data))
                for key in ('img_path', 'seg_map_path')
            )
            counts.append(len(data))
    assert counts == [4, 1, 2]


def test_copies_with_masks_are_said(here, capsys):
    pairs(here / 'y', 12)
    for i in range(1, 6):
        shutil.copy(here / 'y/images/0.jpg', here / f'y/images/{i}.jpg')
    new_task.main(['y', '--val', '0.3', '--test', '0.3'])
    assert 'are copies of training images' in capsys.readouterr().out


def test_unreadable_images(here, capsys):
    class_folders(here / 'x', a=3, b=3)
    (here / 'x/a/broken.jpg').write_bytes(b'no image')
    cut = (here / 'x/a/0.png').read_bytes()[:-20]
    (here / 'x/b/cut.png').write_bytes(cut)
    message = fails('x')
    assert '2 of 8 images cannot be decoded' in message
    assert 'a/broken.jpg' in message and 'b/cut.png' in message
    assert sorted(path.name for path in here.iterdir()) == ['x']
    new_task.main(['x', '--skip-unreadable'])
    assert '3 classes' not in capsys.readouterr().out
    listed = ''.join(p.read_text() for p in (here / 'data/own/x').iterdir())
    assert 'broken' not in listed and 'cut' not in listed


def test_copies_in_two_splits_are_said(here, capsys):
    class_folders(here / 'x', a=6, b=6)
    for i in range(6):
        shutil.copy(here / f'x/a/{i}.png', here / f'x/b/copy{i}.png')
    new_task.main(['x'])
    assert 'are copies of training images' in capsys.readouterr().out


def test_small_classes(here, capsys):
    class_folders(here / 'x', a=5, b=1, c=1)
    assert '2 of 3 classes have a single image' in fails('x')
    new_task.main(['x', '--group-below', '2'])
    assert "are now 'other': b, c" in capsys.readouterr().out
    assert (here / 'data/own/x/classes.txt').read_text() == 'a\nother\n'


def test_nothing_is_overwritten_or_left_behind(here, monkeypatch):
    data = class_folders(here / 'x', a=3, b=3)
    inside = fails('x', '--lists', 'x/lists')
    assert 'inside of the images' in inside
    picture(here / 'data/own/x/kept.png')
    assert 'holds more than lists (kept.png)' in fails('x', '--overwrite')
    shutil.rmtree(here / 'data')
    before = tree(here)

    def fail(*args):
        raise OSError('no space left')

    monkeypatch.setattr(writer.Config, 'fromfile', fail)
    assert 'no space left' in fails('x')
    assert tree(here) == before
    assert sorted(path.name for path in here.iterdir()) == ['x']
    monkeypatch.undo()
    assert tree(data)


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['no'], "'no' does not exist"),
        (['no.csv'], "'no.csv' does not exist"),
        (['x', '--method', 'vtp'], '--method vtp: the zoo has no such method'),
        (['x', '--backbone', 'vit-b_clip'], 'has davpt-plus on augreg-in21k, mae'),
        (['x', '--out', 'x.yaml'], 'must end in .py'),
        (['x', '--name', 'a b'], 'no good name'),
        (['x', '--label-column', 'y'], '--label-column is for'),
        (['x', '--classes', 'y'], '--classes is for images and masks'),
        (['y', '--group-below', '3'], '--group-below is for class folders'),
        (['y', '--classes', 'no.txt'], "'no.txt' does not exist"),
        (['x', '--val', '0.6', '--test', '0.5'], 'both together below 1'),
    ],
)
def test_mistakes(here, monkeypatch, args, message):
    class_folders(here / 'x', a=3, b=3)
    pairs(here / 'y', 4)
    before = tree(here)
    assert message in fails(*args)
    assert tree(here) == before


def test_help_names_methods_and_backbones(capsys):
    with pytest.raises(SystemExit):
        new_task.main(['--help'])
    printed = capsys.readouterr().out
    assert 'davpt-plus: augreg-in21k, mae, mocov3' in printed
    assert 'vpt-deep: upernet-vit-base-p16, ' in printed
