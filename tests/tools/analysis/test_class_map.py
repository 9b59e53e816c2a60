# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Reading and drawing the history of the class-to-prompt map."""

import json

import numpy as np
import pytest

from tools.analysis import class_map


def write(folder, name, rows):
    (folder / name).mkdir(parents=True)
    lines = [
        json.dumps(dict(iter=i, map=m, moved=n, sizes=s, epoch=0))
        for i, m, n, s in rows
    ]
    (folder / name / class_map.HISTORY).write_text('\n'.join(lines) + '\n')


def test_history_of_a_resumed_run_and_its_picture(tmp_path, capsys):
    write(tmp_path, 'b', [(6, [0, 1, 1], 1, [1, 2]), (9, [0, 1, 0], 1, [2, 1])])
    write(tmp_path, 'a', [(0, [0, 0, 1], 3, [2, 1]), (6, [0, 1, 1], 1, [1, 2])])
    out = tmp_path / 'out' / 'map'
    class_map.main([str(tmp_path), '--out', str(out)])
    arrays = np.load(f'{out}.npz')
    assert arrays['iterations'].tolist() == [0, 6, 9]
    assert arrays['maps'].tolist() == [[0, 0, 1], [0, 1, 1], [0, 1, 0]]
    assert arrays['moved'].tolist() == [3, 1, 1]
    assert out.with_suffix('.png').stat().st_size > 1000
    assert 'iteration      9  moved    1  sizes 2 1' in capsys.readouterr().out


def test_no_history(tmp_path):
    with pytest.raises(FileNotFoundError, match='with SemanticMappingHook'):
        class_map.read_history(tmp_path)
