# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The three commands, from a search to a table, and their errors."""

import contextlib
import io
import json

import pytest

pytest.importorskip('optuna')

import mmvpt.bench.benchmark
import mmvpt.bench.search
from mmvpt.bench.settings import StorageError
from mmvpt.errors import UserError
from tests.bench.inline_pool import InlinePool
from tests.engine import miniature
from tests.tools.programs import load_tool

benchmark_command, report_command, search_command = map(
    load_tool, ('benchmark', 'report', 'search')
)


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp('project')
    data = miniature.write_data(root)
    config = miniature.config(data, train_cfg__max_epochs=3)
    config.experiment_name = None
    for stage in ('train', 'val', 'test'):  # mmengine would collect garbage
        config[f'{stage}_dataloader'].dataset.serialize_data = False
    config.dump(str(root / 'mini_net_colours.py'))
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    config.train_dataloader.dataset = dict(
        type='CustomDataset',
        data_root=str(data),
        data_prefix='images',
        pipeline=config.train_dataloader.dataset.pipeline,
    )
    config.dump(str(root / 'no_val.py'))
    (root / 'space.py').write_text(
        "space = {'optim_wrapper.optimizer.lr': [0.01, 0.1],\n"
        "         'model.backbone.prompt.num_tokens': [1, 2]}\n"
    )
    (root / 'wrong.py').write_text("space = {'optim_wrapper.optimiser.lr': [1]}\n")
    (root / 'suite.py').write_text(
        "name = 'colours'\nprotocol = 'vpt'\nseeds = [3, 4]\nbackbone = 'net'\n"
        "tasks = {'colours': {}}\n"
        'methods = {\n'
        f"    'deep': dict(config='{root}/mini_net_colours.py',\n"
        "        space={'optim_wrapper.optimizer.lr': [0.01, 0.1]}),\n"
        f"    'shallow': dict(config='{root}/mini_net_colours.py',\n"
        "        options={'model.backbone.prompt.type': 'ShallowPrompt'}),\n"
        '}\n'
    )
    return root


@pytest.fixture(scope='module', autouse=True)
def in_this_process():
    """Fast: no processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmvpt.bench.benchmark, 'Pool', InlinePool)
        patch.setattr(mmvpt.bench.search, 'Pool', InlinePool)
        yield


@pytest.fixture(scope='module')
def benchmark(project):
    """Run the whole way once."""
    out = project / 'out'
    arguments = [str(project / 'suite.py'), '--method', 'all', '--search']
    arguments += ['--strategy', 'grid', '--no-preview', '--out', str(out)]
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert benchmark_command.main(arguments) == 4
    return out, text.getvalue()


def test_from_search_to_table(project, benchmark, capsys):
    out, text = benchmark
    assert '2 cells: 2 trials, 4 final runs, protocol vpt' in text
    assert 'colours, deep: chosen lr=0' in text and '4 records in' in text
    assert 'colours, deep: [1/2] lr=0.01: ' in text
    for run in ('[1/4] colours, deep, seed 3: test', '[4/4] colours, shallow, seed 4:'):
        assert run in text
    assert text.count('left\n') == 5, 'the last run leaves nothing'
    assert text.count('## colours, protocol vpt') == 1
    assert (out / 'report' / 'report.md').read_text() in text
    records = sorted(p.name for p in out.glob('records/colours/vpt/colours/*.json'))
    seeds = [
        f'{method}_net_seed{s}.json' for method in ('deep', 'shallow') for s in (3, 4)
    ]
    assert records == sorted([*seeds, 'deep_net_search.json'])
    record = json.loads((out / 'records/colours/vpt/colours' / seeds[0]).read_text())
    search = json.loads(
        (out / 'records/colours/vpt/colours/deep_net_search.json').read_text()
    )
    assert record['settings'] == search['best']['overrides']
    assert record['protocol']['train_split'] == 'train800val200'
    assert search['protocol']['search_splits'] == ['train800', 'val200']
    assert search['data']['test']['images'] == 9 and len(search['trials']) == 2

    (out / 'records' / 'cut.json').write_text('{"format": ')
    report = report_command.main([str(out)])
    shown = capsys.readouterr()
    assert 'notice: left out' in shown.err and 'cut.json is cut off' in shown.err
    page = (report / 'report.md').read_text()
    assert '## colours, protocol vpt' in page and 'cut.json' in page
    assert '| deep ' in page and '±' in page and '| settings' in page
    assert (report / 'report.csv').read_text().count('\n') == 3
    assert r'\toprule' in (report / 'report.tex').read_text()
    for name in ('search', 'parameters_colours_vpt', 'seeds_colours_vpt'):
        assert (report / f'{name}.png').stat().st_size > 5000


def test_what_is_done_is_skipped(project, benchmark, capsys, monkeypatch):
    out, _ = benchmark
    before = {p: p.stat().st_mtime_ns for p in out.glob('records/**/*seed*.json')}
    runs = {p: p.stat().st_mtime_ns for p in out.glob('runs/**/console.log')}
    arguments = [str(project / 'suite.py'), '--method', 'shallow', '--no-preview']
    assert benchmark_command.main([*arguments, '--out', str(out)]) == 2
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert {p: p.stat().st_mtime_ns for p in runs} == runs


def test_a_preview_times_what_is_missing(project, benchmark, capsys):
    out, _ = benchmark
    arguments = [str(project / 'suite.py'), '--preview', '--out', str(out)]
    searched = ['--search', '--strategy', 'grid', '--method', 'all']
    before = {p: p.stat().st_mtime_ns for p in out.glob('re*/**/*')}
    assert benchmark_command.main([*arguments, *searched]) == 0
    assert capsys.readouterr().out == ''
    more = ['--method', 'shallow', '--seeds', '3', '4', '5']
    assert benchmark_command.main([*arguments, *more]) == 0
    shown = capsys.readouterr().out
    assert 'Timing a few iterations of 1 trainings' in shown
    assert 'colours, shallow: 1 trainings of about' in shown and 'deep' not in shown
    assert {p: p.stat().st_mtime_ns for p in out.glob('re*/**/*')} == before


def test_a_bad_cell_stops_no_other(project, tmp_path, capsys):
    path = tmp_path / 'suite.py'
    config = project / 'mini_net_colours.py'
    bad = "options={'train_dataloader.dataset.data_root': 'none'}"
    space = "space={'optim_wrapper.optimizer.lr': [0.01]}"
    path.write_text(
        "name = 'bad'\nprotocol = 'vpt'\nseeds = [3]\nbackbone = 'net'\n"
        "tasks = {'colours': {}}\n"
        'methods = {\n'
        f"    'searched': dict(config='{config}', {space}, {bad}),\n"
        f"    'plain': dict(config='{config}', {bad}),\n"
        f"    'absent': dict(config='{tmp_path}/none.py'),\n"
        f"    'good': dict(config='{config}', {space}),\n"
        '}\n'
    )
    out = tmp_path / 'out'
    arguments = [str(path), '--method', 'all', '--search', '--strategy', 'grid']
    with pytest.raises(UserError, match='3 failed') as error:
        benchmark_command.main([*arguments, '--preview', '--out', str(out)])
    assert not list(out.glob('re*'))
    with pytest.raises(UserError) as error:
        benchmark_command.main([*arguments, '--out', str(out)])
    message = str(error.value)
    assert message.startswith('3 failed:\ncolours, ')
    for method in ('searched', 'plain, seed 3', 'absent'):
        assert message.count(f'colours, {method}: ') == 1
    names = sorted(path.name for path in out.glob('records/**/*.json'))
    assert names == ['good_net_search.json', 'good_net_seed3.json']
    shown = capsys.readouterr().out
    assert '| good ' in (out / 'report' / 'report.md').read_text()
    assert 'colours, searched: left out, ' in shown
    assert 'colours, plain: cannot be timed, ' in shown


def test_another_search_of_a_cell_stops_no_other(project, benchmark, capsys):
    out, _ = benchmark
    arguments = [str(project / 'suite.py'), '--method', 'all', '--out', str(out)]
    arguments += ['--search', '--no-preview', '--strategy', 'grid']
    with pytest.raises(UserError, match='1 failed:\ncolours, deep: .*of another'):
        benchmark_command.main([*arguments, '--search-seed', '1'])
    assert '2 records in' in capsys.readouterr().out
    with pytest.raises(StorageError, match='cannot use the storage'):
        benchmark_command.main([*arguments, '--storage', 'sqlite:////proc/no/x.db'])


def test_search_command(project, capsys):
    arguments = [
        str(project / 'mini_net_colours.py'),
        '--space',
        str(project / 'space.py'),
        '--strategy',
        'asha',
        '--trials',
        '4',
        '--batch',
        '4',
        '--workers',
        '1',
        '--out',
        str(project / 'search'),
        '--protocol',
        'own',
    ]
    assert search_command.main([*arguments, '--preview']) is None
    shown = capsys.readouterr().out
    assert 'asha: 4 trainings of about' in shown and 'with 1 workers' in shown
    record = search_command.main(arguments)
    assert len(record['trials']) == 4
    assert record['strategy']['rungs'] == [1]
    best = (project / 'search' / 'best.py').read_text()
    lr = record['best']['overrides']['optim_wrapper.optimizer.lr']
    assert f'lr={lr}' in best
    again = search_command.main(arguments)  # nothing is left to do
    assert again['trials'] == record['trials'] and again['best'] == record['best']
    study = ['--study', 'search/own/colours/mini_net/asha', '--search-seed', '1']
    with pytest.raises(StorageError, match='of another search'):
        search_command.main([*arguments, *study])


def search(project, *arguments, config='mini_net_colours.py', space='space.py'):
    files = [str(project / config), '--space', str(project / space)]
    out = ['--out', str(project / 'errors'), '--workers', '1', '--protocol', 'own']
    return search_command.main([*files, *out, *arguments])


def test_errors_of_a_search(project, capsys):
    with pytest.raises(UserError, match="no 'optimiser'. Did you mean 'optimizer'"):
        search(project, space='wrong.py')
    with pytest.raises(UserError, match='no validation split'):
        search(project, config='no_val.py')
    with pytest.raises(StorageError, match='cannot use the storage'):
        search(project, '--storage', 'sqlite:////proc/no/such/place.db')
    with pytest.raises(FileNotFoundError, match='space file'):
        search(project, space='none.py')
    with pytest.raises(SystemExit):
        search_command.main([str(project / 'mini_net_colours.py')])
    assert '--space is needed' in capsys.readouterr().err


def test_errors_of_a_benchmark(project):
    wrong = ['vtap', '--method', 'davpt', '--backbone', 'vit-b_in21k']
    with pytest.raises(UserError, match="^unknown suite 'vtap'"):
        benchmark_command.main(wrong)
    arguments = [str(project / 'suite.py'), '--method', 'all', '--out', str(project)]
    with pytest.raises(ValueError, match='leave out --search'):
        benchmark_command.main([*arguments, '--search', '--protocol', 'single-recipe'])
    with pytest.raises(ValueError, match='no method of the suite has a space'):
        benchmark_command.main(['demo', '--method', 'VAPT', '--search', *arguments[3:]])


def test_a_report_of_nothing(tmp_path):
    with pytest.raises(ValueError, match='no valid record'):
        report_command.main([str(tmp_path)])
