# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Real, tiny trainings: trials, final runs and their records, also after a kill."""

import json
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub

from mmvpt.bench import LeakError, comparable, finals, read_record, trials
from mmvpt.bench.hooks import MeasuringHook
from mmvpt.checkpoint import read_checkpoint
from mmvpt.engine.guidance import class_pass
from mmvpt.engine.run import load_config
from mmvpt.errors import UserError
from tests.engine import miniature

METRIC = 'accuracy/top1'
SPLITS = ('train', 'val', 'test')


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp('project')
    data = miniature.write_data(root)
    for name in ('', '_val_on_test'):
        config = miniature.config(data)
        config.experiment_name = None
        for stage in ('train', 'val', 'test'):  # mmengine would collect garbage
            config[f'{stage}_dataloader'].dataset.serialize_data = False
        if name:
            config.val_dataloader.dataset.split = 'test'
        config.dump(str(root / f'config{name}.py'))
    return root


def spec_for(project, where, **changes):
    spec = dict(
        suite='suite',
        task='colours',
        group='',
        method='VPT-deep',
        backbone='mini',
        config=str(project / 'config.py'),
        metric=METRIC,
        options={'model.backbone.prompt.num_tokens': 2},
        settings={'optim_wrapper.optimizer.lr': 0.05},
        protocol='own',
        seed=1,
        seeds=[1, 2],
        work_dir=str(where / 'work'),
        record=str(where / 'records' / 'run.json'),
        accepted_duplicates=0,
        predictions=False,
    )
    return dict(spec, **changes)


@pytest.fixture(scope='module')
def undisturbed(project, tmp_path_factory):
    where = tmp_path_factory.mktemp('undisturbed')
    finals.run_final(spec_for(project, where))
    return where


def test_a_record_tells_how_it_came_about(project, undisturbed):
    record = read_record(undisturbed / 'records' / 'run.json')
    assert record['seed'] == 1 and record['settings'] == {
        'optim_wrapper.optimizer.lr': 0.05
    }
    assert set(record['metrics']['val']) == set(record['metrics']['test']) == {METRIC}
    assert record['data']['train']['images'] == 24
    assert record['protocol']['train_split'] == 'train800'
    assert record['protocol']['test_reads'] == 'once'
    assert record['protocol']['transforms']['val'] == [
        'LoadImageFromFile()',
        'PackInputs()',
    ]
    head, prompts = 32 * 3 + 3, 2 * 2 * 32
    assert record['head_parameters'] == head
    assert record['tuned_parameters'] == head + prompts
    assert record['measured']['seconds'] > 0
    assert record['measured']['test_reads'] == 1
    assert record['protocol']['train_batch']['images_per_step'] == 8
    assert record['protocol']['protocol_seeds'] == [0, 1, 2]
    log = next((undisturbed / 'work').glob('*/tuned_parameters.json'))
    assert json.loads(log.read_text())['tuned'] == head + prompts


def test_what_is_done_is_kept_and_what_differs_is_done_again(project, undisturbed):
    path = undisturbed / 'records' / 'run.json'
    before = path.stat().st_mtime_ns
    finals.run_final(spec_for(project, undisturbed))
    assert path.stat().st_mtime_ns == before
    text = path.read_text()
    try:
        path.write_text(text[:100])
        again = finals.run_final(spec_for(project, undisturbed))
        assert comparable(again) == comparable(json.loads(text))
        # the training was not repeated: its result lay beside its checkpoint
        assert again['measured'] == json.loads(text)['measured']
        assert path.with_suffix('.old').exists()
    finally:
        path.write_text(text)


@pytest.mark.parametrize('moment', ['iter', 'test'])
def test_a_killed_run_ends_as_an_undisturbed_one(
    project, undisturbed, tmp_path, moment
):
    spec = spec_for(project, tmp_path)
    pid = os.fork()
    if pid == 0:
        try:
            if moment == 'iter':  # in the second epoch
                from mmvpt.engine.hooks import SeedHook

                count = iter(range(100))
                old = SeedHook.before_train_iter

                def step(*args, **kwargs):
                    if next(count) == 4:
                        os.kill(os.getpid(), signal.SIGKILL)
                    old(*args, **kwargs)

                SeedHook.before_train_iter = step
            else:  # the test split was read, nothing is written
                finals.write_json = lambda path, content: (
                    os.kill(os.getpid(), signal.SIGKILL)
                    if Path(path).name == 'test.json'
                    else real(path, content)
                )
                from mmvpt.bench import write_json as real
            finals.run_final(spec)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    assert not Path(spec['record']).exists()
    if moment == 'iter':  # as if the first epoch had taken long
        path = Path(spec['work_dir']) / 'epoch_1.pth'
        state = read_checkpoint(path)
        assert state['meta']['measured']['seconds'] > 0
        state['meta']['measured'] = dict(seconds=1000.0, peak_memory=2**50)
        torch.save(state, path)
    record = finals.run_final(spec)
    expected = read_record(undisturbed / 'records' / 'run.json')
    assert comparable(record) == comparable(expected)
    measured = record['measured']
    assert measured['test_reads'] == (1 if moment == 'iter' else 2)
    assert (measured['seconds'] > 1000) == (moment == 'iter')
    assert (measured['peak_memory'] == 2**50) == (moment == 'iter')


def test_a_resumed_training_is_measured_in_all_its_parts():
    first, state = MeasuringHook(), dict(meta={})
    first._start -= 7.0
    first.before_save_checkpoint(None, state)
    assert state['meta']['measured']['seconds'] >= 7.0
    second = MeasuringHook()
    second._start -= 5.0
    second.after_load_checkpoint(None, state)
    assert 12.0 <= second.measured()['seconds'] < 60.0


def test_other_files_under_the_same_path_make_another_run(project, tmp_path):
    data = shutil.copytree(project / 'data', tmp_path / 'data')
    weights = tmp_path / 'weights.pth'
    weights.write_bytes(b'weights')
    options = {f'{s}_dataloader.dataset.data_root': str(data) for s in SPLITS}
    init = dict(type='Pretrained', checkpoint=str(weights))
    options['model.backbone.init_cfg'] = init
    spec = spec_for(project, tmp_path, options=options)
    marks = [finals.run_fingerprint(spec)]
    assert finals.run_fingerprint(spec) == marks[0]
    weights.write_bytes(b'others')
    marks.append(finals.run_fingerprint(spec))
    for name in ('train800_0', 'val200_0', 'test_0'):
        with open(data / f'images/{name}.png', 'ab') as file:
            file.write(b'another image')
        marks.append(finals.run_fingerprint(spec))
    lines = (data / 'test.txt').read_text().splitlines()
    (data / 'test.txt').write_text('\n'.join(lines[:-1]))
    marks.append(finals.run_fingerprint(spec))
    assert len(set(marks)) == 6


def test_checkpoints_of_another_run_are_not_continued(project, tmp_path, monkeypatch):
    finals.run_final(spec_for(project, tmp_path))
    note = tmp_path / 'work/run.json'
    before = note.read_text()
    with monkeypatch.context() as patch:  # ends before it has cleared the folder
        patch.setattr(finals, 'protocol_config', None)
        with pytest.raises(UserError, match='not callable'):
            finals.run_final(spec_for(project, tmp_path, seed=2))
    assert note.read_text() == before
    assert finals.run_final(spec_for(project, tmp_path, seed=2))['seed'] == 2
    assert note.read_text() != before


@pytest.mark.parametrize('metric, expected', [(None, 60.0), ('top1', 80.0)])
def test_the_validation_of_the_model_that_counts(metric, expected):
    hub = MessageHub('validations')
    for top1, top5 in ((70.0, 1.0), (80.0, 2.0), (80.0, 3.0), (60.0, 4.0)):
        hub.update_scalar('val/top1', top1)
        hub.update_scalar('val/top5', top5)
        hub.update_scalar('val/time', 0.1)
    found = finals.validated(SimpleNamespace(message_hub=hub), metric)
    assert found == dict(top1=expected, top5=2.0 if metric else 4.0)


def test_best_val_records_the_validation_of_the_best_epoch(project, tmp_path):
    # away from the minimum after two epochs
    back = dict(type='MultiStepLR', milestones=[2], gamma=-10.0)
    options = {'train_cfg.max_epochs': 3, 'param_scheduler': [back]}
    spec = spec_for(project, tmp_path, protocol='own-best-val', options=options)
    record = finals.run_final(spec)
    log = next(Path(spec['work_dir']).glob('*/vis_data/scalars.json'))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    seen = [row[METRIC] for row in rows if METRIC in row]
    assert len(seen) == 3 and max(seen) > seen[-1]
    assert record['metrics']['val'][METRIC] == max(seen)
    best = next(Path(spec['work_dir']).glob('best_*.pth'))
    assert seen.index(max(seen)) + 1 == read_checkpoint(best)['meta']['epoch']


def test_the_seed_of_the_run_rules(project, tmp_path):
    seeded = {'randomness.seed': 77}
    spec = spec_for(project, tmp_path, options=seeded)
    record = finals.run_final(dict(spec, settings={**spec['settings'], **seeded}))
    assert record['settings'] == record['overrides'] == spec['settings']
    last = read_checkpoint(Path(spec['work_dir']) / 'epoch_2.pth')
    assert last['meta']['seed'] == record['seed'] == 1


def test_protocol_vpt_trains_on_all_images(project, tmp_path):
    record = finals.run_final(spec_for(project, tmp_path, protocol='vpt'))
    assert record['data']['train']['images'] == 33
    assert record['data']['val'] is None and record['metrics']['val'] is None


def test_hooks_look_at_images_as_evaluation_does(project, tmp_path, monkeypatch):
    """DA-VPT under a protocol that takes validation and test away."""
    prompt = dict(type='DistributionAwarePrompt', num_classes=3, num_guided_tokens=2)
    hooks = [f'mmvpt.{name}Hook' for name in ('SemanticMapping', 'MetricGuidance')]
    options = {
        'model.backbone.prompt': dict(prompt, num_tokens=2),
        'custom_hooks': [dict(type=name) for name in hooks],
    }
    seen, build = [], class_pass.Compose
    monkeypatch.setattr(class_pass, 'Compose', lambda p: seen.append(p) or build(p))
    spec = spec_for(project, tmp_path, protocol='vpt', options=options, settings={})
    assert finals.run_final(spec)['data']['val'] is None
    assert seen == [load_config(spec['config']).test_dataloader.dataset.pipeline]


def test_a_test_selected_epoch_is_labelled_or_refused(project, tmp_path):
    planted = dict(config=str(project / 'config_val_on_test.py'))
    spec = spec_for(project, tmp_path, protocol='own-best-val', **planted)
    with pytest.raises(UserError, match='validation reads test images') as error:
        finals.run_final(spec)
    assert isinstance(error.value.__cause__, LeakError)
    assert not Path(spec['record']).exists()
    with pytest.raises(ValueError, match='validation reads test images'):
        trials.inspect_search(dict(spec, protocol='own', keys=[]))
    record = finals.run_final(spec_for(project, tmp_path, protocol='davpt-paper'))
    assert record['protocol']['label'] == 'test-selected'
    assert record['protocol']['test_reads'] == 'every epoch'
    assert record['data']['overlaps']['val_test'] == 9


def trial_spec(project, where, **changes):
    extra = dict(slot=3, attempt=0, overrides={}, thresholds={}, interval=None, keys=[])
    return spec_for(project, where, seed=0, **{**extra, **changes})


def test_trials(project, tmp_path):
    result = trials.run_trial(trial_spec(project, tmp_path))
    assert result['state'] == 'complete' and result['cost'] == 2
    assert list(result['steps']) == [1, 2] and result['value'] == result['steps'][2]
    assert not list(tmp_path.rglob('*.pth')), 'trials keep no checkpoints'
    stopped = trials.run_trial(trial_spec(project, tmp_path, thresholds={1: 101.0}))
    assert (stopped['state'], stopped['value'], stopped['cost']) == ('pruned', None, 1)
    assert stopped['steps'] == {1: result['steps'][1]}
    folders = {path.name for path in (tmp_path / 'work').iterdir()}
    trials.run_trial(trial_spec(project, tmp_path, attempt=1, thresholds={1: 101.0}))
    now = {path.name for path in (tmp_path / 'work').iterdir()}
    assert now - folders == {'trial3_again1'}
    lost = trials.run_trial(
        trial_spec(project, tmp_path, overrides={'optim_wrapper.optimizer.lr': 1e38})
    )
    assert (lost['state'], lost['value'], lost['steps']) == ('diverged', None, {})


def test_a_setting_of_the_space_cannot_bring_test_data_in(project, tmp_path):
    sneaky = {'val_dataloader.dataset.split': 'test'}
    with pytest.raises(UserError, match='validation reads test images'):
        trials.run_trial(trial_spec(project, tmp_path, overrides=sneaky))


@pytest.mark.parametrize('split', ['val200', 'test'])
def test_settings_cannot_change_the_test(project, tmp_path, split):
    swapped = {
        'val_dataloader.dataset.split': 'test',
        'test_dataloader.dataset.split': split,
    }
    with pytest.raises(UserError, match='changes the test'):
        trials.run_trial(trial_spec(project, tmp_path, overrides=swapped))
    with pytest.raises(LeakError, match='changes the test'):
        finals.run_final(spec_for(project, tmp_path, settings=swapped))
    with pytest.raises(LeakError, match='changes the test'):
        trials.inspect_search(trial_spec(project, tmp_path, keys=list(swapped)))


def test_a_search_on_images_that_another_seed_tests(project, tmp_path):
    other = shutil.copytree(project / 'data', tmp_path / 'other')
    draws = [
        {f'{s}_dataloader.dataset.data_root': str(root) for s in SPLITS}
        for root in (project / 'data', other)
    ]
    spec = trial_spec(project, tmp_path, options=draws[0], draws=draws)
    trials.inspect_search(spec)
    (other / 'test.txt').write_text((other / 'val200.txt').read_text())
    trials.inspect_search(dict(spec, draws=draws[:1]))
    with pytest.raises(LeakError, match='9 .*are test images with another seed'):
        trials.inspect_search(spec)
    with pytest.raises(UserError, match='are test images with another seed'):
        trials.run_trial(spec)


def test_inspection_and_calibration(project, tmp_path):
    spec = trial_spec(project, tmp_path)
    found = trials.inspect_search(spec)
    assert (found['length'], found['unit']) == (2, 'epochs')
    assert found['protocol']['search_splits'] == ['train800', 'val200']
    with pytest.raises(ValueError, match="has no 'num_tokns'"):
        trials.inspect_search(dict(spec, keys=['model.backbone.prompt.num_tokns']))
    assert trials.calibrate(spec) > 0
    lost = {'optim_wrapper.optimizer.lr': 1e38, 'train_cfg.max_epochs': 8}
    assert trials.calibrate(dict(spec, overrides=lost)) is None


def test_inspections_print_nothing(project, tmp_path, capfd, monkeypatch):
    def late(*args):
        os.write(1, b'stray')
        os.write(2, b'stray')

    monkeypatch.setattr(trials, 'check_keys', late)
    trials.inspect_search(trial_spec(project, tmp_path))
    monkeypatch.setattr(finals, 'config_digest', lambda *args: late() or 1 / 0)
    with pytest.raises(ZeroDivisionError):  # before a run has a log of its own
        finals.run_final(spec_for(project, tmp_path))
    assert 'stray' not in ''.join(capfd.readouterr())


def test_sessions_that_join_calibrate_side_by_side(project, tmp_path):
    spec = trial_spec(project, tmp_path)
    there, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            begin = trials.CalibrationHook.before_train_iter

            def step(*args, **kwargs):  # holds its folder until the other is done
                os.write(there[1], b'.')
                os.read(go[0], 1)
                trials.CalibrationHook.before_train_iter = begin
                begin(*args, **kwargs)

            trials.CalibrationHook.before_train_iter = step
            trials.calibrate(spec)
            os._exit(0)
        finally:
            os._exit(1)
    os.read(there[0], 1)
    try:
        assert trials.calibrate(spec) > 0
    finally:
        os.write(go[1], b'.')
    assert os.waitpid(pid, 0)[1] == 0
    assert not list((tmp_path / 'work').iterdir()), 'calibrations leave nothing behind'
