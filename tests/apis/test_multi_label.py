# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Images with several classes: from a table to lists, training, predictions, export."""

import csv
import json

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS

from mmvpt.apis import MultiLabel
from mmvpt.datasets.own import read_table
from mmvpt.errors import UserError
from tests.datasets.own.pictures import class_folders, picture
from tests.tools.programs import load_tool, test_tool, train_tool
from tests.tools.test_new_task import here, make_small  # noqa: F401

new_task, predict = load_tool('new_task'), load_tool('predict')
LABELS = ('ant;bee', 'ant', '', 'bee;cat', 'ant;bee;cat', 'cat', 'ant', 'bee')


@pytest.fixture
def table(tmp_path):
    for i in range(8):
        picture(tmp_path / f'{i}.png', i)

    def write(*lines):
        path = tmp_path / 'insects.csv'
        path.write_text('\n'.join(lines) + '\n')
        return path

    return write


def test_forms_of_a_table(table):
    cells = [f'{i}.png,{label}' for i, label in enumerate(LABELS)]
    expected = [tuple(label.split(';')) if label else () for label in LABELS]
    found = read_table(table('image,labels', *cells), multi_label=True)
    assert [image.label for image in found.images] == expected
    bars = [cell.replace(';', '|') for cell in cells]
    found = read_table(table('image,label', *bars), multi_label=True)
    assert [image.label for image in found.images] == expected
    ones = [
        f'{i}.png,' + ','.join(str(int(n in label)) for n in ('ant', 'bee', 'cat'))
        for i, label in enumerate(LABELS)
    ]
    found = read_table(table('image,ant,bee,cat', *ones), multi_label=True)
    assert [image.label for image in found.images] == expected
    lines = [
        f'{i}.png,{name}'
        for i, label in enumerate(LABELS)
        for name in label.split(';')
        if name
    ]
    found = read_table(table('image,label', *lines), multi_label=True)
    assert [image.label for image in found.images] == [e for e in expected if e]
    assert list(found.by_label()) == ['ant', 'bee', 'cat']


@pytest.mark.parametrize(
    ('lines', 'options', 'message'),
    [
        (('image,label', '0.png,a', '0.png,b'), {}, 'listed before.*--multi-label'),
        (('image,label', '0.png,a;b', '1.png,c|d'), dict(multi_label=True), 'divided'),
        (('image,ant', '0.png,many'), dict(multi_label=True), "'ant' has 'many'"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(table, lines, options, message):
    with pytest.raises(UserError, match=message):
        read_table(table(*lines), **options)


def test_samples(tmp_path):
    class_folders(tmp_path, x=3)
    (tmp_path / 'classes.txt').write_text('ant\nbee\ncat\n')
    (tmp_path / 'train.txt').write_text('x/0.png 0,2\nx/1.png -\nx/2.png 1\n')
    data = DATASETS.build(dict(type='mmvpt.MultiLabel', data_root=str(tmp_path)))
    assert data.metainfo['classes'] == ('ant', 'bee', 'cat')
    scores = [data.get_data_info(i)['gt_score'].tolist() for i in range(3)]
    assert scores == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert data.get_cat_ids(0) == [0, 2] and data.get_cat_ids(1) == []
    (tmp_path / 'train.txt').write_text('x/0.png 0,3\n')
    with pytest.raises(UserError, match='outside'):
        DATASETS.build(dict(type='mmvpt.MultiLabel', data_root=str(tmp_path)))


def test_from_a_table_to_predictions(here, capsys):  # noqa: F811
    for i in range(16):
        picture(here / f'photos/{i}.png', i)
    lines = [f'photos/{i}.png,{LABELS[i % 8]}' for i in range(16)]
    (here / 'insects.csv').write_text('\n'.join(['image,labels', *lines]) + '\n')
    with pytest.raises(UserError, match=r'guides its prompts.*vpt-deep'):
        new_task.main(['insects.csv', '--multi-label', '--method', 'davpt-plus'])
    path = new_task.main(['insects.csv', '--multi-label', '--test', '0.2'])
    assert '3 classes' in capsys.readouterr().out
    written = Config.fromfile(path)
    assert written.model.head.type == 'MultiLabelLinearClsHead'
    small = make_small(path, model__head__in_channels=16, train_cfg__max_epochs=1)
    runner = train_tool.main([small, '--work-dir', 'work'])
    loss = runner.message_hub.get_scalar('train/loss').current()
    assert np.isfinite(loss) and loss > 0
    metrics = test_tool.main([small, 'work/epoch_1.pth', '--work-dir', 'test'])
    assert {'multi-label/mAP', 'multi-label/f1-score'} <= set(metrics)
    predict.main(['work/epoch_1.pth', 'photos', '--out', 'out', '--pictures'])
    content = json.loads((here / 'out/predictions.json').read_text())
    with open('out/predictions.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    for result in content['results']:
        present = {
            content['class_names'][i]
            for i, s in enumerate(result['scores'])
            if s >= 0.5
        }
        named = {r['class_name'] for r in rows if r['image'] == result['image']}
        assert named == (present or {''})  # an image without a class keeps its row
    assert len(content['results']) == 16


def test_scores_above_the_threshold_are_labels():
    found = MultiLabel('x', (1, 0), np.array([0.6, 0.9, 0.1]), ('ant', 'bee', 'cat'))
    assert [row['class_name'] for row in found.rows()] == ['bee', 'ant']
    assert found.top(1) == [('bee', 0.9)]
    none = MultiLabel('x', (), np.zeros(3), ('ant', 'bee', 'cat'))
    assert none.rows() == [dict(image='x', label='', class_name='', score='')]
    assert none.as_dict()['classes'] == []
