# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""tools/train.py and tools/test.py, in the process and as programs."""

import json
import os
import pickle
import types

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmvpt.checkpoint import CheckpointError, read_checkpoint
from mmvpt.engine import distributed as processes
from mmvpt.engine import run, run_config
from mmvpt.engine.distributed import process_rank
from mmvpt.errors import UserError
from tests.datasets.own.pictures import class_folders
from tests.engine.miniature import run_tool
from tests.tools.programs import test_tool, train_tool


def train(config, work_dir, *options):
    return train_tool.main([str(config), '--work-dir', str(work_dir), *options])


def merged(tmp_path, config=(), **options):
    """Return the config that train builds the runner from."""
    config = dict(config)
    config.setdefault('default_scope', 'mmpretrain')
    config.setdefault('train_dataloader', dict(num_workers=2))
    config.setdefault('optim_wrapper', dict(type='OptimWrapper'))
    (tmp_path / 'name.py').touch()
    config = Config(config, filename=str(tmp_path / 'name.py'))
    return run_config.training_config(config, **options)


def test_work_dir_comes_from_the_line_the_config_or_its_name(tmp_path):
    assert merged(tmp_path).work_dir == os.path.join('work_dirs', 'name')
    assert merged(tmp_path, dict(work_dir='a')).work_dir == 'a'
    assert merged(tmp_path, dict(work_dir='a'), work_dir='b').work_dir == 'b'


def test_dataloader_defaults(tmp_path):
    loader = merged(tmp_path).train_dataloader
    assert loader.persistent_workers and loader.collate_fn.type == 'default_collate'
    loader = merged(tmp_path, persistent_workers=False).train_dataloader
    assert not loader.persistent_workers
    alone = dict(train_dataloader=dict(num_workers=0))
    loader = merged(tmp_path, alone).train_dataloader
    assert not loader.persistent_workers and not loader.pin_memory
    seg = dict(default_scope='mmseg')
    loader = merged(tmp_path, seg).train_dataloader
    assert loader == dict(num_workers=2)
    loader = merged(tmp_path, seg, pin_memory=False).train_dataloader
    assert loader.pin_memory is False


def test_no_validate(tmp_path):
    config = dict(val_cfg=dict(), val_dataloader=dict())
    config = merged(tmp_path, config, validate=False)
    assert config.val_cfg is None and config.val_dataloader is None


def test_amp(tmp_path, monkeypatch):
    wrapper = merged(tmp_path, amp=True).optim_wrapper
    if not torch.cuda.is_available():
        assert wrapper.type == 'mmvpt.AutocastOptimWrapper'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    wrapper = merged(tmp_path, amp=True).optim_wrapper
    assert wrapper == dict(type='AmpOptimWrapper', loss_scale='dynamic')
    with pytest.raises(UserError, match='but the config has Own'):
        merged(tmp_path, dict(optim_wrapper=dict(type='Own')), amp=True)


def test_auto_scale_lr(tmp_path):
    scale = dict(enable=False, base_batch_size=256)
    config = merged(tmp_path, dict(auto_scale_lr=scale), auto_scale_lr=True)
    assert config.auto_scale_lr.enable
    with pytest.raises(UserError, match='auto_scale_lr=dict'):
        merged(tmp_path, auto_scale_lr=True)


def test_overwrite_and_resume_exclude_each_other(capsys):
    with pytest.raises(SystemExit) as error:
        train_tool.main(['c.py', '--resume', '--overwrite'])
    assert error.value.code == 2
    assert 'give one of them' in capsys.readouterr().err


def test_fresh_run_in_a_used_work_dir(trained):
    config, work_dir = trained
    with pytest.raises(FileExistsError, match='--resume.*--work-dir.*--overwrite'):
        train(config, work_dir)
    before = (work_dir / 'epoch_2.pth').stat().st_mtime_ns
    train(config, work_dir, '--overwrite')
    assert (work_dir / 'epoch_2.pth').stat().st_mtime_ns != before


def test_resume_from_a_path(trained, tmp_path):
    config, work_dir = trained
    runner = train(config, tmp_path, '--resume', str(work_dir / 'epoch_1.pth'))
    assert runner.epoch == 2
    one = read_checkpoint(work_dir / 'epoch_2.pth')['state_dict']
    other = read_checkpoint(tmp_path / 'epoch_2.pth')['state_dict']
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_resume_without_checkpoint_starts_afresh(trained, tmp_path):
    assert train(trained[0], tmp_path, '--resume').epoch == 2


def test_amp_trains(trained, tmp_path):
    train(trained[0], tmp_path, '--amp', '--no-validate')
    assert (tmp_path / 'epoch_2.pth').exists()


def test_metrics_go_to_a_file(trained, tmp_path):
    config, work_dir = trained
    out = tmp_path / 'metrics.json'
    args = [str(config), str(work_dir / 'epoch_2.pth'), '--work-dir', str(tmp_path)]
    metrics = test_tool.main([*args, '--out', str(out), '--out-item', 'metrics'])
    assert json.loads(out.read_text()) == metrics
    assert 0 <= metrics['accuracy/top1'] <= 100


def test_predictions_and_pictures(trained, tmp_path):
    config, work_dir = trained
    out, pictures = tmp_path / 'out.pkl', tmp_path / 'pictures'
    args = [str(config), str(work_dir / 'epoch_2.pth'), '--work-dir', str(tmp_path)]
    test_tool.main([*args, '--out', str(out), '--show-dir', str(pictures)])
    assert len(pickle.loads(out.read_bytes())) == 9
    assert len(list(pictures.rglob('*.png'))) == 9


def test_pictures_of_class_folders_do_not_replace_each_other(trained, tmp_path):
    config, work_dir = trained
    class_folders(tmp_path / 'photos', a=2, b=1, c=1)
    for path in (tmp_path / 'photos').rglob('*.png'):
        Image.open(path).resize((32, 32)).save(path)
    load = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    text = f'_base_ = {str(config)!r}\n' + (
        'test_dataloader = dict(dataset=dict(_delete_=True, type="CustomDataset", '
        f'data_root={str(tmp_path / "photos")!r}, pipeline={load!r}))\n'
    )
    (tmp_path / 'folders.py').write_text(text)
    out = tmp_path / 'pictures'
    args = [str(tmp_path / 'folders.py'), str(work_dir / 'epoch_2.pth')]
    test_tool.main([*args, '--work-dir', str(tmp_path), '--show-dir', str(out)])
    assert sorted(p.parent.name for p in out.rglob('*.png')) == ['a', 'a', 'b', 'c']


@pytest.mark.parametrize('ending', ['pkl', 'pickle'])
def test_predictions_go_to_either_ending(trained, tmp_path, ending):
    config, work_dir = trained
    out = tmp_path / 'new' / f'out.{ending}'
    args = [str(config), str(work_dir / 'epoch_2.pth'), '--work-dir', str(tmp_path)]
    test_tool.main([*args, '--out', str(out)])
    assert len(pickle.loads(out.read_bytes())) == 9


def test_flips(trained, tmp_path):
    config, work_dir = trained
    args = [str(config), str(work_dir / 'epoch_2.pth'), '--work-dir', str(tmp_path)]
    assert 'accuracy/top1' in test_tool.main([*args, '--tta'])
    with pytest.raises(UserError, match='leave one of them out'):
        test_tool.main([*args, '--tta', '--show-dir', str(tmp_path)])


def test_segmentation_options():
    config = Config(
        dict(
            default_scope='mmseg',
            work_dir='w',
            model=dict(type='EncoderDecoder'),
            default_hooks=dict(visualization=dict(type='SegVisualizationHook')),
            visualizer=dict(type='SegLocalVisualizer'),
            test_dataloader=dict(dataset=dict(pipeline=['plain'])),
            test_cfg=dict(type='TestLoop'),
            test_evaluator=dict(type='IoUMetric'),
            tta_model=dict(type='SegTTAModel'),
            tta_pipeline=['augmented'],
        )
    )
    config = run_config.testing_config(config, 'x.pth', show_dir='pics', tta=True)
    assert run._set_out(config, 'maps', None)  # as label maps
    assert config.default_hooks.visualization.draw
    assert config.visualizer.save_dir == 'pics'
    assert config.model.type == 'SegTTAModel'
    assert config.model.module.type == 'EncoderDecoder'
    assert config.test_dataloader.dataset.pipeline == ['augmented']
    assert 'collate_fn' not in config.test_dataloader


def test_checkpoint_of_another_config(trained, tmp_path):
    config, work_dir = trained
    checkpoint = read_checkpoint(work_dir / 'epoch_2.pth')
    del checkpoint['state_dict']['head.fc.bias']
    torch.save(checkpoint, tmp_path / 'other.pth')
    args = [str(config), str(tmp_path / 'other.pth'), '--work-dir', str(tmp_path)]
    with pytest.raises(CheckpointError, match=r'lacks head\.fc\.bias'):
        test_tool.main(args)


def test_out_needs_an_ending(trained, tmp_path):
    config, _ = trained
    args = [str(config), 'x.pth', '--work-dir', str(tmp_path), '--out-item', 'metrics']
    with pytest.raises(UserError, match='must end in .json'):
        test_tool.main([*args, '--out', 'a.pkl'])
    with pytest.raises(UserError, match='--out-item needs --out'):
        test_tool.main(args)


def test_mistake_is_one_message(tmp_path):
    """As a program, without PYTHONPATH and installation."""
    ended = run_tool('nothere.py')
    assert ended.returncode == 1
    message = ended.stderr.strip().splitlines()[-1]
    assert message.startswith('train.py: error: config nothere.py does not exist')
    assert 'Traceback' not in ended.stderr


def test_malicious_checkpoint_does_not_run(trained, tmp_path, fails):
    class Malicious:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path}/ran',)

    torch.save({'state_dict': {}, 'x': Malicious()}, tmp_path / 'bad.pth')
    args = (trained[0], tmp_path / 'bad.pth', '--work-dir', tmp_path)
    status, message = fails('test.py', *args)
    assert status == 1 and 'system, which would run as code' in message
    assert not (tmp_path / 'ran').exists()


def fail_in(module, body):
    """Call a function whose code seems to lie in a file; return the error."""
    namespace = {}
    exec(compile(body, module, 'exec'), namespace)
    try:
        namespace['fail']()
    except Exception as error:
        return error


def test_only_our_own_errors_are_explained():
    try:
        run.load_config('nothere.py')
    except FileNotFoundError as error:
        assert run.explain(error).startswith('config nothere.py does not exist')
        wrapped = RuntimeError(f'class X: {error}')
        wrapped.__cause__ = error
        assert run.explain(wrapped) == str(wrapped)
        other = RuntimeError('something else')
        other.__context__ = error
        assert run.explain(other) is None
    try:
        process_rank('unknown')  # a bug inside the package
    except KeyError as error:
        assert run.explain(error) is None
    assert run.explain(fail_in('x.py', 'def fail():\n    raise ValueError(1)')) is None


def test_a_process_that_ended_is_not_the_fault_of_the_others():
    lost = RuntimeError('[gloo/pair.cc:561] Connection closed by peer [::1]\nmore')
    assert run.explain(lost).startswith('another process of this run ended first')
    assert 'more' not in run.explain(lost)


def test_errors_of_workers_are_explained(trained, tmp_path):
    config, _ = trained
    broken = tmp_path / 'data'
    broken.mkdir()
    source = config.parent / 'data'
    for path in source.rglob('*'):
        target = broken / path.relative_to(source)
        if path.is_dir():
            target.mkdir()
        else:
            target.write_bytes(path.read_bytes())
    (broken / 'images/train800_5.png').write_bytes(b'no image')
    options = [
        f'train_dataloader.dataset.data_root={broken}',
        'train_dataloader.num_workers=1',
    ]
    with pytest.raises(Exception) as error:
        train(config, tmp_path / 'run', '--cfg-options', *options)
    message = run.explain(error.value)
    assert message and 'train800_5.png' in message and 'Traceback' not in message


def test_interrupt_is_no_traceback():
    def interrupted():
        raise KeyboardInterrupt

    def training():
        raise KeyboardInterrupt('continue with --resume')

    with pytest.raises(SystemExit, match='^interrupted$'):
        run.run_tool(interrupted)
    with pytest.raises(SystemExit, match='^interrupted; continue with --resume$'):
        run.run_tool(training)


def test_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run.run_tool(lambda: 1 / 0)


def test_names_of_runs_differ(tmp_path):
    names = {merged(tmp_path).experiment_name for _ in range(3)}
    assert len(names) == 3


def test_processes_of_slurm_and_mpi(monkeypatch):
    env = types.SimpleNamespace(environ={})
    monkeypatch.setattr(processes, 'os', env)
    env.environ.update(SLURM_PROCID='3', SLURM_NTASKS='4', SLURM_LOCALID='1')
    env.environ['MASTER_ADDR'] = 'node0'
    assert process_rank('slurm') == 3
    processes.name_processes('slurm')
    assert [env.environ[k] for k in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')] == list('341')
    mpi = dict(RANK='1', SIZE='2', LOCAL_RANK='0')
    env.environ.update({f'OMPI_COMM_WORLD_{k}': v for k, v in mpi.items()})
    processes.name_processes('mpi')
    assert [env.environ[k] for k in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')] == list('120')
