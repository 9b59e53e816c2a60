# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Each of the 26 tasks from raw files to a trained checkpoint, by the three tools."""

import json
import math

import pytest
import torch

from mmvpt.datasets.prepare import TASKS
from tests.config_files import ROOT, ZOO
from tests.datasets.prepare.raw import make
from tools import test as test_tool
from tools import train as train_tool
from tools.data import check as check_tool
from tools.data import prepare as prepare_tool

CONFIGS = {
    name.key: name.path
    for name in ZOO
    if (name.method, name.backbone) == ('vpt-deep', 'in21k')
}
SEGMENTATION = ('ade20k', 'pascal_context')
#: One of each benchmark; `make test-all` runs the others.
QUICK = ('cub', 'kitti', 'ade20k')
BATCH = 32


def tasks(names):
    return [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.sweep)
        for name in names
    ]


def ready(name, root, monkeypatch, capsys):
    """Prepare and check the miniature of a task; return the task and its folder."""
    task = make(name, root / 'raw')
    monkeypatch.setitem(TASKS, name, task)  # a miniature may have fewer classes
    out = ['--out', str(root / 'data'), '--allow-counts']
    prepare_tool.main([name, '--source', str(root / 'raw'), '--quiet', *out])
    with pytest.raises(SystemExit) as stop:
        check_tool.main([name, *out])
    assert stop.value.code == 0, capsys.readouterr().out
    return task, root / 'data' / task.folder


def train(content, root, *args, config='config.py', work_dir='run'):
    """Run tools/train.py on a config of that content; return the runner."""
    (root / config).write_text(content)
    path = str(root / work_dir)
    return train_tool.main([str(root / config), '--work-dir', path, *args])


def scalars(work_dir):
    """Return all that was logged, key -> values."""
    logged = {}
    for file in sorted(work_dir.rglob('scalars.json')):
        for line in file.read_text().splitlines():
            for key, value in json.loads(line).items():
                logged.setdefault(key, []).append(value)
    return logged


def classification(task, data_root):
    """Return a config that inherits the one of the zoo, with a ViT of width 24."""
    fewer = task.group == 'fgvc'  # VTAB1k has its own numbers of classes
    data = dict(data_root=str(data_root))
    if fewer:
        data['num_classes'] = task.num_classes
    loader = dict(batch_size=BATCH, num_workers=0, dataset=data)
    arch = dict(
        _delete_=True,
        embed_dims=24,
        num_layers=12,
        num_heads=2,
        feedforward_channels=48,
    )
    head = dict(in_channels=24, **(dict(num_classes=task.num_classes) if fewer else {}))
    lines = {
        '_base_': [str(CONFIGS[task.name])],
        'model': dict(
            backbone=dict(init_cfg=None, arch=arch, patch_size=56), head=head
        ),
        'train_dataloader': loader,
        'val_dataloader': loader,
        'test_dataloader': loader,
        'train_cfg': dict(max_epochs=1),
        'param_scheduler': dict(warmup=0),
        'default_hooks': dict(logger=dict(interval=1)),
    }
    if fewer:  # 3 classes have no top-5 accuracy
        lines['val_evaluator'] = lines['test_evaluator'] = dict(topk=(1,))
    return ''.join(f'{key} = {value!r}\n' for key, value in lines.items())


def test_every_task_has_its_config():
    assert {*CONFIGS, *SEGMENTATION} == {*TASKS}
    assert len(TASKS) == 26


@pytest.mark.parametrize('name', tasks(CONFIGS))
def test_classification(name, tmp_path, monkeypatch, capsys):
    task, folder = ready(name, tmp_path, monkeypatch, capsys)
    runner = train(classification(task, folder.parent), tmp_path)

    counts = json.loads((folder / 'origin.json').read_text())['counts']
    images = counts['train' if task.group == 'fgvc' else 'train800']
    assert runner.iter == math.ceil(images / BATCH)
    logged = scalars(tmp_path / 'run')
    assert len(logged['loss']) == runner.iter
    assert all(map(math.isfinite, logged['loss']))
    (score,) = logged['accuracy/top1']
    assert 0 <= score <= 100
    assert (tmp_path / 'run/epoch_1.pth').is_file()
    assert 0 <= runner.test()['accuracy/top1'] <= 100


def segmentation(task, folder, max_iters=2, num_classes=None):
    """Return a config of mmseg's scope: FCN on a prompted ViT of width 24."""
    zero = task.name == 'ade20k'  # its class 0 is 'other', which does not count
    annotations = dict(type='LoadAnnotations', reduce_zero_label=zero)
    load = dict(type='LoadImageFromFile')
    pack = dict(type='PackSegInputs')
    random = [
        dict(type='RandomResize', scale=(64, 32), ratio_range=(1, 2), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(32, 32), cat_max_ratio=0.75),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PhotoMetricDistortion'),
    ]
    seeded = dict(type='mmvpt.SeededTransforms', transforms=random)
    resize = dict(type='Resize', scale=(32, 32), keep_ratio=False)

    flips = [dict(type='RandomFlip', prob=float(flip)) for flip in (False, True)]
    tta = dict(type='TestTimeAug', transforms=[[resize], flips, [annotations], [pack]])

    def loader(split, pipeline, sampler, batch_size):
        data = dict(data_root=str(folder), pipeline=pipeline)
        if zero:
            part = dict(train='training', val='validation')[split]
            data['type'] = 'ADE20KDataset'
            data['data_prefix'] = dict(
                img_path=f'images/{part}', seg_map_path=f'annotations/{part}'
            )
        else:
            data['type'] = 'PascalContextDataset'
            data['ann_file'] = f'ImageSets/SegmentationContext/{split}.txt'
            data['data_prefix'] = dict(
                img_path='JPEGImages', seg_map_path='SegmentationClassContext'
            )
        return dict(batch_size=batch_size, num_workers=0, dataset=data, sampler=sampler)

    backbone = dict(
        type='mmvpt.PromptedVisionTransformer',
        arch=dict(embed_dims=24, num_layers=3, num_heads=2, feedforward_channels=48),
        img_size=32,
        patch_size=8,
        out_type='featmap',
        prompt=dict(type='DeepPrompt', num_tokens=4, drop_rate=0.1),
    )
    head = dict(
        type='FCNHead',
        in_channels=24,
        channels=16,
        num_convs=1,
        num_classes=num_classes or task.num_classes,
        norm_cfg=dict(type='BN'),
    )
    lines = {
        '_base_': [str(ROOT / 'configs/_base_/default_runtime.py')],
        'default_scope': 'mmseg',
        'visualizer': dict(type='SegLocalVisualizer'),
        'log_processor': dict(by_epoch=False),
        'default_hooks': dict(
            logger=dict(interval=1, log_metric_by_epoch=False),
            checkpoint=dict(by_epoch=False, save_best='mIoU'),
            visualization=dict(_delete_=True, type='SegVisualizationHook'),
        ),
        'model': dict(
            type='EncoderDecoder',
            data_preprocessor=dict(
                type='SegDataPreProcessor',
                mean=[127.5] * 3,
                std=[127.5] * 3,
                bgr_to_rgb=True,
                pad_val=0,
                seg_pad_val=255,
                size=(32, 32),
            ),
            backbone=backbone,
            decode_head=head,
            train_cfg=dict(),
            test_cfg=dict(mode='whole'),
        ),
        'train_dataloader': loader(
            'train',
            [load, annotations, seeded, pack],
            dict(type='mmvpt.SeededInfiniteSampler'),
            batch_size=2,
        ),
        'val_dataloader': loader(
            'val',
            [load, resize, annotations, pack],
            dict(type='DefaultSampler', shuffle=False),
            batch_size=1,
        ),
        'val_evaluator': dict(type='IoUMetric', iou_metrics=['mIoU']),
        'train_cfg': dict(type='IterBasedTrainLoop', max_iters=max_iters),
        'val_cfg': dict(type='ValLoop'),
        'test_cfg': dict(type='TestLoop'),
        'tta_model': dict(type='SegTTAModel'),
        'tta_pipeline': [load, tta],
        'optim_wrapper': dict(
            type='OptimWrapper',
            constructor='mmvpt.TunedOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01),
        ),
        'param_scheduler': [dict(type='PolyLR', eta_min=1e-4, end=2, by_epoch=False)],
    }
    lines['train_cfg']['val_interval'] = 2
    lines['test_dataloader'] = lines['val_dataloader']
    lines['test_evaluator'] = lines['val_evaluator']
    return ''.join(f'{key} = {value!r}\n' for key, value in lines.items())


@pytest.mark.parametrize('name', tasks(SEGMENTATION))
def test_segmentation(name, tmp_path, monkeypatch, capsys):
    task, folder = ready(name, tmp_path, monkeypatch, capsys)
    runner = train(segmentation(task, folder), tmp_path)

    logged = scalars(tmp_path / 'run')
    assert len(logged['loss']) == 2 and all(map(math.isfinite, logged['loss']))
    (score,) = logged['mIoU']
    assert 0 <= score <= 100
    assert list((tmp_path / 'run').glob('best_mIoU_iter_2.pth'))
    report = json.loads(next((tmp_path / 'run').rglob('tuned_*.json')).read_text())
    tuned = {part for part, group in report['groups'].items() if group['tuned']}
    assert tuned == {'backbone.prompt', 'decode_head'}

    # Interrupted after one iteration and resumed with another number of workers: the
    # same images, crops, dropout and weights.
    options = ('--cfg-options', 'train_dataloader.num_workers=1')
    train(segmentation(task, folder, max_iters=1), tmp_path, work_dir='resumed')
    content = segmentation(task, folder)
    other = train(content, tmp_path, '--resume', *options, work_dir='resumed')
    assert other.iter == runner.iter == 2
    expected, state = runner.model.state_dict(), other.model.state_dict()
    assert expected.keys() == state.keys()
    for key, value in expected.items():
        assert torch.equal(state[key], value), key

    # Tested: the same score, with flips, and with a map and a picture of each image.
    checkpoint = str(tmp_path / 'run/iter_2.pth')
    args = [str(tmp_path / 'config.py'), checkpoint, '--work-dir', str(tmp_path / 't')]
    assert test_tool.main(args)['mIoU'] == score
    assert 0 <= test_tool.main([*args, '--tta'])['mIoU'] <= 100
    folders = {key: tmp_path / key for key in ('show-dir', 'out')}
    outputs = [word for key, at in folders.items() for word in (f'--{key}', str(at))]
    test_tool.main([*args, *outputs])
    for at in folders.values():
        assert len([*at.rglob('*.png')]) == len(runner.val_dataloader.dataset)

    with pytest.raises(ValueError, match=r'decode_head\.num_classes is 7'):
        train(segmentation(task, folder, num_classes=7), tmp_path, work_dir='wrong')


def test_segmentation_stops_at_a_loss_that_is_not_finite(tmp_path, monkeypatch, capsys):
    task, folder = ready('ade20k', tmp_path, monkeypatch, capsys)
    content = segmentation(task, folder)
    loss = dict(type='CrossEntropyLoss', loss_weight=1e39)
    content += f"model['decode_head']['loss_decode'] = {loss!r}\n"
    with pytest.raises(FloatingPointError, match='loss is not finite in iteration 1'):
        train(content, tmp_path)
    assert not list((tmp_path / 'run').glob('*.pth'))
