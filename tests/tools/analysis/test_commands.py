# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The commands that look into models, on one miniature run with the hook."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmvpt import analysis
from mmvpt.analysis import gallery
from mmvpt.errors import run_tool
from mmvpt.registry import HOOKS
from tests.engine.miniature import ROOT, config, write_config, write_data
from tools import train
from tools.analysis import (
    attention,
    class_map,
    curves,
    embedding,
    gates,
    similarity,
)
from tools.analysis import gallery as gallery_tool

PROMPT = dict(
    _delete_=True,
    type='DistributionAwarePrompt',
    num_classes=3,
    num_guided_tokens=2,
    num_tokens=3,
)
GUIDANCE = [
    dict(type='mmvpt.SemanticMappingHook'),
    dict(type='mmvpt.MetricGuidanceHook', visual_weight=0.1, cls_weight=0.1),
]
HOOK = dict(type='mmvpt.PromptVisualizationHook', num_images=3)


def run(root, name, *hooks, prompt=PROMPT, **changes):
    """Train for two epochs and return the work dir."""
    path = root / f'{name}.py'
    data = root / 'data'
    settings = config(data if data.exists() else write_data(root), **changes)
    settings.merge_from_dict({'model.backbone.prompt': prompt})
    settings.custom_hooks = [*GUIDANCE, *hooks] if prompt is PROMPT else list(hooks)
    settings.dump(str(path))
    train.main([str(path), '--work-dir', str(root / name)])
    return root / name


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Work dirs: DA-VPT with the hook, the same without, Gated with the hook."""
    root = tmp_path_factory.mktemp('runs')
    gated = dict(_delete_=True, type='GatedPrompt', num_tokens=2)
    return dict(
        davpt=run(root, 'davpt', HOOK),
        plain=run(root, 'plain'),
        gated=run(root, 'gated', dict(HOOK, pictures=False), prompt=gated),
    )


def draws(tool, tmp_path, *args, pictures=('',)):
    """Run a command; check its files and return the arrays."""
    out = tmp_path / 'new' / 'out'
    tool.main([*map(str, args), '--out', str(out)])
    for ending in pictures:
        picture = out.with_name(f'out{ending}.png')
        assert picture.read_bytes().startswith(b'\x89PNG')
        assert len(picture.with_suffix('.txt').read_text()) > 60, 'a caption'
    names = {f'out{e}.{kind}' for e in pictures for kind in ('png', 'txt')}
    assert {p.name for p in out.parent.iterdir()} == names | {'out.npz'}
    with np.load(out.with_suffix('.npz')) as arrays:
        return dict(arrays)


def test_attention(runs, tmp_path, capsys):
    arrays = draws(attention, tmp_path, runs['davpt'], pictures=('', '_layers'))
    assert arrays['cls_1'].shape == (4, 4, 1 + 2 + 16)
    np.testing.assert_allclose(arrays['cls_1'].sum(-1), 1, rtol=1e-5)
    assert arrays['images'].shape == (4, 32, 32, 3)
    assert arrays['classes'].tolist() == [0, 0, 1, 2]
    assert arrays['names'].tolist() == ['a', 'a', 'b', 'c']
    found = torch.load(runs['davpt'] / 'epoch_2.pth', weights_only=False)
    phi = found['state_dict']['backbone.prompt.class_to_prompt'].tolist()
    assert arrays['positive_1'].tolist() == [phi[c] for c in (0, 0, 1, 2)]
    # colours arrive as they are in the file: class c is brightest in its channel
    brightest = arrays['images'].mean((1, 2)).argmax(-1)
    assert brightest.tolist() == [2, 2, 1, 0], 'BGR in the file, RGB here'
    assert 'layer  1  CLS gives' in capsys.readouterr().out


def test_attention_of_files_and_one_head(runs, tmp_path):
    data = runs['davpt'].parent / 'data/images'
    files = sorted(data.glob('test_*.png'))[:2]
    checkpoint = runs['gated'] / 'epoch_1.pth'  # it has its config
    arrays = draws(
        attention,
        tmp_path,
        checkpoint,
        '--layer',
        0,
        '--head',
        3,
        '--images',
        *files,
        pictures=('', '_layers'),
    )
    assert arrays['names'].tolist() == [file.name for file in files]
    assert 'classes' not in arrays and 'positive_0' not in arrays


def test_class_map(runs, tmp_path, capsys):
    arrays = draws(class_map, tmp_path / 'a', runs['davpt'])
    assert arrays['epochs'].tolist() == [0, 1, 2]
    saved = draws(class_map, tmp_path / 'b', runs['davpt'], '--checkpoints')
    assert saved['epochs'].tolist() == [1, 2]
    np.testing.assert_array_equal(saved['maps'], arrays['maps'][1:])
    assert saved['drift_as_is'][1] == arrays['drift_as_is'][2]
    assert 'epoch      2  moved' in capsys.readouterr().out


def test_gates(runs, tmp_path, capsys):
    arrays = draws(gates, tmp_path, runs['gated'])
    assert arrays['temperatures'].shape == (2,) and arrays['weights'].shape == (2,)
    assert 'selection ratio 1.0000' in capsys.readouterr().out


def test_similarity(runs, tmp_path):
    arrays = draws(similarity, tmp_path, runs['gated'], '--split', 'train', '-n', 2)
    assert arrays['cosine'].shape == (4, 4)


@pytest.mark.parametrize('run', ['davpt', 'gated'])
def test_embedding(runs, tmp_path, run):
    options = ('--method', 'pca', '--num', 6, '--max-patches', 20)
    arrays = draws(embedding, tmp_path, runs[run], *options)
    assert np.bincount(arrays['kind']).tolist() == [2, 3, 6, 20]
    assert arrays['places'].shape == (31, 2)


def test_curves(runs, tmp_path, capsys):
    arrays = draws(curves, tmp_path, runs['davpt'], runs['gated'])
    assert arrays['davpt|accuracy.top1|steps'].tolist() == [1, 2]
    assert arrays['gated|prompt.gate_0|steps'].tolist() == [0, 3, 6]
    printed = capsys.readouterr().out
    assert 'loss  davpt: ' in printed and 'accuracy/top1  gated: ' in printed
    seconds = draws(curves, tmp_path, runs['davpt'], '--seconds')
    name = f'{runs["davpt"].name}|accuracy.top1|seconds'
    assert 0 < seconds[name][0] < seconds[name][1]
    curves.main([str(runs['davpt']), '--list'])
    assert 'loss_metric_cls' in capsys.readouterr().out.splitlines()


def test_gallery(runs, tmp_path, monkeypatch, capsys):
    demo = tmp_path / 'demo'
    for method, name in (('davpt', 'davpt'), ('gatedvpt', 'gated')):
        (demo / method).mkdir(parents=True)
        (demo / method / 'seed0').symlink_to(runs[name])
    entries = [e for e in gallery.ENTRIES if e.out in ('attention', 'gates')]
    monkeypatch.setattr(gallery, 'ENTRIES', entries)
    page = tmp_path / 'docs' / 'gallery.md'
    gallery.write_gallery(str(demo), str(page))
    text = page.read_text()
    for picture in (page.parent / 'gallery').iterdir():
        assert f'(gallery/{picture.name})' in text
    assert '--out analysis/attention' in text
    assert 'work_dirs/demo/davpt/seed0' in text and str(tmp_path) not in text


def test_pictures_of_the_gallery_are_small():
    pictures = list((ROOT / 'docs/gallery').glob('*.png'))
    assert pictures
    assert [p.name for p in pictures if p.stat().st_size > 150_000] == []
    names = {f'{e.out}{end}.png' for e in gallery.ENTRIES for end in ('', *e.more)}
    assert names == {p.name for p in pictures}


def test_hook_gives_scalars_and_pictures(runs):
    (folder,) = runs['davpt'].glob('*/vis_data')
    rows = [json.loads(line) for line in open(folder / 'scalars.json')]
    looks = [row for row in rows if 'prompt/cls_attention_1' in row]
    assert [row['step'] for row in looks] == [0, 3, 6]
    for row in looks:
        assert 0 < row['prompt/positive_attention_1'] < 1
        assert 'prompt/positive_attention_0' not in row, 'layer 0 is not guided'
    assert 'mapping/drift' not in looks[0]
    history = analysis.read_history(runs['davpt'])['maps']
    assert looks[2]['mapping/drift'] == np.mean(history[1] != history[2])
    names = {
        f'prompt_{p}_{s}.png' for p in ('attention', 'similarity') for s in (0, 3, 6)
    }
    assert {p.name for p in (folder / 'vis_image').iterdir()} == names
    (folder,) = runs['gated'].glob('*/vis_data')
    assert not (folder / 'vis_image').exists(), 'pictures=False'


def test_hook_changes_nothing(runs):
    one, other = (
        torch.load(runs[name] / 'epoch_2.pth', weights_only=False)['state_dict']
        for name in ('davpt', 'plain')
    )
    assert all(torch.equal(one[k], other[k]) for k in one)


def fails(capsys, tool, *args):
    """Run a command that must fail; return its message."""
    with pytest.raises(SystemExit) as error:
        run_tool(lambda: tool.main([str(arg) for arg in args]))
    message = capsys.readouterr().err
    if isinstance(error.value.code, str):
        message = error.value.code
    else:
        assert error.value.code
    assert 'error: ' in message and 'Traceback' not in message
    return message


def test_errors(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['look.py'])
    monkeypatch.chdir(tmp_path)
    run = runs['davpt']
    cases = [
        ((attention, run, '--layer', 2), 'layer must be from 0 to 1'),
        ((attention, run, '--head', 4), 'head must be from 0 to 3'),
        ((attention, run, '--images', 'none.png'), 'no such image: none.png'),
        ((attention, run, '--num', 0), '--num must be at least 1'),
        ((attention, tmp_path), 'holds 0 configs'),
        ((attention, run / 'plain.py'), 'give its checkpoint as well'),
        ((attention, run, runs['gated'] / 'epoch_1.pth'), 'the tuned checkpoint'),
        ((attention, run, tmp_path / 'none.pth'), 'none.pth'),
        ((embedding, run, '--images', 'x.png'), 'class means need classes'),
        ((gates, run), 'has neither prompt.gate_logits'),
        ((class_map, runs['gated']), 'no class_to_prompt.jsonl'),
        ((class_map, runs['gated'], '--checkpoints'), 'no model of Distribution'),
        ((curves, tmp_path), 'no scalars.json'),
        ((curves, run, '--keys', 'los'), "no run logged 'los'; logged are"),
        ((curves, run, run), 'need as many different names'),
        ((gallery_tool, '--demo', tmp_path), 'run `make demo` first'),
    ]
    for (tool, *args), expected in cases:
        assert expected in fails(capsys, tool, *args), (tool.__name__, args)
    bare = write_config(tmp_path, model__backbone__prompt=None)
    options = ('--cfg-options', 'model.backbone.prompt=None')
    message = fails(capsys, attention, bare, run / 'epoch_2.pth', *options)
    assert 'no prompts' in message or 'lacks' in message
    left = [p.name for p in Path(tmp_path).iterdir() if p.suffix in ('.png', '.tmp')]
    assert not left


@pytest.mark.parametrize(
    'options',
    [dict(interval=0), dict(num_images=0), dict(interval=1.5)],
)
def test_hook_refuses(options):
    (name,) = options
    with pytest.raises(ValueError, match=f'{name} must be at least 1'):
        HOOKS.build(dict(HOOK, **options))
