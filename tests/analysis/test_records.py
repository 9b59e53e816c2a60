# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What is read from logs and checkpoints: maps, gates, curves."""

import itertools
import json

import numpy as np
import pytest
import torch

from mmvpt import analysis
from mmvpt.analysis import pictures
from mmvpt.analysis.class_map import HISTORY


def write_history(folder, rows):
    folder.mkdir(parents=True)
    lines = [
        json.dumps(dict(iter=i, epoch=e, map=m, sizes=s, moved=0))
        for i, e, m, s in rows
    ]
    (folder / HISTORY).write_text('\n'.join(lines) + '\n')


def test_history_of_a_resumed_run(tmp_path):
    write_history(
        tmp_path / 'b', [(6, 1, [0, 1, 1], [1, 2]), (9, 2, [0, 1, 0], [2, 1])]
    )
    write_history(
        tmp_path / 'a',
        [
            (0, 0, [0, 0, 1], [2, 1]),
            (3, 0, [0, 1, 1], [1, 2]),
            (6, 1, [0, 1, 1], [1, 2]),
        ],
    )
    found = analysis.read_history(tmp_path)
    assert found['iterations'].tolist() == [0, 3, 6, 9]
    assert found['epochs'].tolist() == [0, 1, 2, 3]
    assert found['maps'].tolist() == [[0, 0, 1], [0, 1, 1], [0, 1, 1], [0, 1, 0]]
    assert found['sizes'].tolist() == [[2, 1], [1, 2], [1, 2], [2, 1]]


def test_history_by_iterations_and_wrong_ones(tmp_path):
    write_history(tmp_path / 'a', [(i, 0, [0, 1], [1, 1]) for i in (0, 4, 8)])
    assert 'epochs' not in analysis.read_history(tmp_path)
    with pytest.raises(FileNotFoundError, match='with SemanticMappingHook'):
        analysis.read_history(tmp_path / 'b')
    (tmp_path / 'a' / HISTORY).write_text('')
    with pytest.raises(ValueError, match='is empty'):
        analysis.read_history(tmp_path)
    (tmp_path / 'a' / HISTORY).write_text('{"iter": 1')
    with pytest.raises(ValueError, match='line 1 is no row'):
        analysis.read_history(tmp_path)


def save(path, **tensors):
    state = {f'backbone.prompt.{name}': value for name, value in tensors.items()}
    torch.save(dict(state_dict=state, meta={}), path)


def test_maps_of_checkpoints(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no epoch_\*.pth'):
        analysis.read_checkpoint_maps(tmp_path)
    for epoch, found in ((2, [0, 0, 1]), (10, [1, 0, 1])):
        save(
            tmp_path / f'epoch_{epoch}.pth',
            class_to_prompt=torch.tensor(found),
            centroids=torch.zeros(3, 4),
        )
    arrays = analysis.read_checkpoint_maps(tmp_path)
    assert arrays['epochs'].tolist() == [2, 10]
    assert arrays['maps'].tolist() == [[0, 0, 1], [1, 0, 1]]
    assert arrays['sizes'].tolist() == [[2, 1, 0], [1, 2, 0]]
    save(tmp_path / 'epoch_11.pth', class_to_prompt=torch.tensor([-1, 0]))
    with pytest.raises(ValueError, match='never made'):
        analysis.read_checkpoint_maps(tmp_path)
    save(tmp_path / 'epoch_11.pth', tokens=torch.zeros(2))
    with pytest.raises(ValueError, match='no model of DistributionAwarePrompt'):
        analysis.read_checkpoint_maps(tmp_path)


def test_drift_against_all_renumberings():
    maps = np.random.default_rng(0).integers(0, 4, (5, 9))
    maps[1] = (maps[0] + 1) % 4  # renumbered, nothing else
    found = analysis.drift(maps, 4)
    for t in range(1, 5):
        least = min(
            np.mean(np.array(order)[maps[t]] != maps[t - 1])
            for order in itertools.permutations(range(4))
        )
        assert found['aligned'][t] == pytest.approx(least)
        assert found['as_is'][t] == pytest.approx(np.mean(maps[t] != maps[t - 1]))
        assert found['from_first'][t] == pytest.approx(np.mean(maps[t] != maps[0]))
    assert found['as_is'][1] == 1 and found['aligned'][1] == 0
    assert [values[0] for values in found.values()] == [0, 0, 0]


def test_gates_against_the_recursion():
    logits = torch.tensor([-1.0, 0.3, 2.0], dtype=torch.float64)
    found = analysis.gate_arrays(logits, torch.tensor([1.0, 2.0, 0.5, 1.0]))
    g = 1 / (1 + np.exp(-logits.numpy()))
    weights = np.array([1.0, 0, 0, 0])  # of P and of what each layer wrote
    for i in range(3):
        weights = (1 - g[i]) * weights + g[i] * np.eye(4)[i + 1]
    np.testing.assert_allclose(found['gates'], g)
    np.testing.assert_allclose(found['weights'], weights)
    ratio = weights[1:] / weights[1:].sum()
    np.testing.assert_allclose(found['selection_ratio'], ratio)
    np.testing.assert_allclose(found['temperatures'], [1, 2, 0.5, 1])


def test_gates_of_a_state():
    state = {'module.backbone.prompt.temperatures': torch.ones(2)}
    assert list(analysis.gates_of_state(state, 'x')) == ['temperatures']
    with pytest.raises(ValueError, match='x has neither prompt.gate_logits'):
        analysis.gates_of_state({'backbone.prompt.tokens': torch.ones(2)}, 'x')
    state['ema.backbone.prompt.temperatures'] = torch.ones(2)
    with pytest.raises(ValueError, match='several'):
        analysis.gates_of_state(state, 'x')


def write_scalars(folder, rows):
    folder = folder / 'vis_data'
    folder.mkdir(parents=True)
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    (folder / 'scalars.json').write_text(text)
    return folder / 'scalars.json'


def test_curves_of_a_resumed_run(tmp_path):
    def train(step, epoch, loss):
        return dict(loss=loss, time=0.1, iter=step, epoch=epoch, step=step)

    def validation(epoch, value):
        return {'accuracy/top1': value, 'time': 0.2, 'step': epoch}

    first = [train(5, 1, 2.0), validation(1, 50.0), {'mapping/moved': 1, 'step': 5}]
    first += [train(10, 2, 1.5), validation(2, 60.0), train(15, 3, 9.0)]
    write_scalars(tmp_path / '1', first)
    later = [validation(2, 61.0), train(15, 3, 1.0), train(20, 4, 0.5)]
    file = write_scalars(tmp_path / '2', later)
    with open(file, 'a') as log:
        log.write('{"loss": 0.')  # killed
    found = analysis.read_curves(tmp_path)
    assert found['loss'].steps.tolist() == [5, 10, 15, 20]
    assert found['loss'].values.tolist() == [2.0, 1.5, 1.0, 0.5]
    assert found['loss'].unit == 'iteration'
    assert found['accuracy/top1'].values.tolist() == [50.0, 61.0]
    assert found['accuracy/top1'].unit == 'epoch'
    assert found['mapping/moved'].unit == 'iteration'
    assert found['time'].steps.tolist() == [5, 10, 15, 20]
    assert found['val/time'].steps.tolist() == [1, 2]
    assert found['loss'].seconds.tolist() == pytest.approx([0.5, 1.0, 1.5, 2.0])
    assert found['accuracy/top1'].seconds.tolist() == pytest.approx([0.5, 1.0])


def test_seconds_follow_the_logged_times(tmp_path):
    """A step takes what was logged after it, not the mean of the run."""
    rows = [dict(loss=1.0, time=t, iter=i, step=i) for t, i in [(0.5, 10), (0.1, 20)]]
    rows.insert(1, {'aAcc': 1.0, 'time': 9.0, 'step': 10})
    write_scalars(tmp_path, rows)
    found = analysis.read_curves(tmp_path)
    assert found['loss'].seconds.tolist() == pytest.approx([5.0, 6.0])
    assert found['aAcc'].seconds.tolist() == pytest.approx([5.0])
    write_scalars(tmp_path / 'untimed', [dict(loss=1.0, iter=1, step=1)])
    assert analysis.read_curves(tmp_path / 'untimed')['loss'].seconds is None


def test_a_run_begun_again_replaces_the_old_one(tmp_path):
    old = [dict(loss=1.0 * s, iter=s, step=s) for s in (1, 2, 3)]
    write_scalars(tmp_path / '1', old)
    write_scalars(tmp_path / '2', [dict(loss=7.0, iter=1, step=1)])
    assert analysis.read_curves(tmp_path)['loss'].values.tolist() == [7.0]


def test_logs_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match='LocalVisBackend'):
        analysis.read_curves(tmp_path)
    file = write_scalars(tmp_path / '1', [])
    with pytest.raises(ValueError, match='holds no scalars'):
        analysis.read_curves(tmp_path)
    file.write_text('nonsense\n{"loss": 1, "step": 1}\n')
    with pytest.raises(ValueError, match='line 1 is no row'):
        analysis.read_curves(tmp_path)


def test_the_names_of_many_runs_fit(tmp_path):
    write_scalars(tmp_path, [dict(loss=1.0, iter=i, step=i) for i in (1, 2)])
    curves = analysis.read_curves(tmp_path)
    runs = {f'full fine-tuning, seed {i}': curves for i in range(10)}
    for keys in (['loss'], ['loss'] * 3):
        figure = pictures.draw_curves(runs, keys)
        figure.canvas.draw()
        (legend,) = figure.legends
        box, whole = legend.get_window_extent(), figure.bbox
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and box.y1 <= whole.y1
