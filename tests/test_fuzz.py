# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Seeded mutations of configs and data folders; of checkpoints: tests/weights.

Each ends in a right result or a ``UserError``: no other exception, no half-written
output. ``MMVPT_FUZZ`` sets how many of each kind are tried.
"""

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config, ConfigDict
from PIL import Image

from mmvpt.engine.run import train
from mmvpt.errors import UserError
from mmvpt.zoo.new_task import Options, new_task
from tests.engine import miniature

TRIES = int(os.environ.get('MMVPT_FUZZ', 550))
pytestmark = pytest.mark.sweep


def outcomes(attempt, kind):
    """Try all seeds; report failures together, and how the others ended."""
    ended, problems = Counter(), []
    for seed in range(TRIES):
        try:
            ended[attempt(seed)] += 1
        except UserError as error:
            assert len(str(error)) > 20, error
            ended['refused'] += 1
        except Exception as error:  # noqa: BLE001  what is looked for
            problems.append(f'{kind} {seed}: {type(error).__name__}: {error}'[:300])
    print(f'{kind}: {dict(ended)}, {len(problems)} problems')
    assert not problems, '\n'.join(problems[:40])
    assert ended['refused'] and sum(ended.values()) == TRIES


def leaves(node, place=()):
    """Yield the places of all values of a config."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield (*place, key)
        if isinstance(value, (dict, list, tuple)) and value:
            yield from leaves(value, (*place, key))


def test_configs(tmp_path):
    data = miniature.write_data(tmp_path)
    base = miniature.config(data, train_cfg__max_epochs=1).to_dict()
    places = sorted(leaves(base), key=str)

    def attempt(seed):
        rng = random.Random(seed)
        config = Config(base)._cfg_dict.to_dict()
        # mmengine keeps what has this name, and writes into the first one's folder
        config['experiment_name'] = f'fuzz{seed}'
        node, place = config, rng.choice(places)
        for key in place[:-1]:
            node = node[key]
        wrong = [None, 'text', -1, 0, 2.5, [], ['a', 1], {}, True, float('nan')]
        if isinstance(node, tuple):
            return 'a tuple'
        node[place[-1]] = rng.choice(wrong)
        work_dir = tmp_path / f'run{seed}'
        try:
            train(Config(ConfigDict(config)), work_dir=str(work_dir))
        except (Exception, SystemExit) as error:
            error.args = (f'{place} = {node[place[-1]]!r}: {error}',)
            raise
        finally:
            halves = [p for p in work_dir.rglob('*') if p.suffix in ('.part', '.tmp')]
            shutil.rmtree(work_dir, ignore_errors=True)
        assert not halves, halves
        return 'trained'

    outcomes(attempt, 'config')


def picture(path, rng, mode='RGB'):
    size = (rng.randrange(8, 40), rng.randrange(8, 40))
    pixels = np.random.default_rng(rng.randrange(99)).integers(0, 255, (*size, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(path)


def mutated_folder(rng, root):
    """Write class folders with one mutation; return the classes, None if unsure."""
    classes = ['ant', 'bee', 'cat'][: rng.choice([2, 3])]
    for name in classes:
        for k in range(6):
            picture(root / name / f'{k}.png', rng)
    kind = rng.choice(
        'junk thumbs empty text cut nested mode loose unicode parts copy'.split()
    )
    one = root / classes[0]
    if kind == 'junk':
        (root / rng.choice(['.DS_Store', 'Thumbs.db', 'notes.txt'])).write_bytes(b'x')
    elif kind == 'thumbs':
        folder = rng.choice(['@eaDir', '__MACOSX', '.ipynb_checkpoints'])
        picture(root / folder / '0.png', rng)
        picture(one / folder / '0.png', rng)
    elif kind == 'empty':
        (root / 'dog').mkdir()
        return None
    elif kind == 'text':
        (one / '0.png').write_text('no image')
        return None
    elif kind == 'cut':
        data = (one / '0.png').read_bytes()
        (one / '0.png').write_bytes(data[: rng.randrange(len(data) - 20)])
        return None
    elif kind == 'nested':
        picture(one / 'more' / '9.png', rng)
    elif kind == 'mode':
        picture(one / '9.png', rng, rng.choice(['L', 'P', 'RGBA', '1', 'LA']))
    elif kind == 'loose':
        picture(root / '9.png', rng)
        return None
    elif kind == 'unicode':
        one.rename(root / 'Ämeise 1')
        classes[0] = 'Ämeise 1'
    elif kind == 'parts':
        for part in ('images', 'masks'):
            picture(root / part / '9.png', rng)
        return None
    elif kind == 'copy':
        shutil.copy(one / '0.png', root / classes[1] / 'copy.png')
        return None
    return classes


def test_data_folders(tmp_path, monkeypatch):
    def attempt(seed):
        folder = tmp_path / str(seed)
        classes = mutated_folder(random.Random(seed), folder / 'photos')
        monkeypatch.chdir(folder)
        lists, out = Path('lists'), Path('config.py')
        options = dict(data='photos', out=str(out), lists=str(lists))
        try:
            new_task(Options(**options, backbone='vit-digits', method='vpt-deep'))
        except UserError:
            assert classes is None, f'{classes} were refused'
            assert not lists.exists() and not out.exists()
            raise
        found = (lists / 'classes.txt').read_text(encoding='utf-8').splitlines()
        assert classes is None or found == sorted(classes), found
        shutil.rmtree(folder)
        return 'read'

    outcomes(attempt, 'folder')
