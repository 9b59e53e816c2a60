# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Read which prompt every class had after each update of DA-VPT's map.

Writes the arrays to an npz file, then a picture of them:

    python tools/analysis/class_map.py work_dirs/davpt --out class_map
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

HISTORY = 'class_to_prompt.jsonl'


def read_history(folder: str | Path) -> dict[str, np.ndarray]:
    """Read the history that ``SemanticMappingHook`` wrote.

    A resumed run has several files; what it did again counts once.

    Args:
        folder: Work dir of a run, or a folder in it.

    Returns:
        ``iterations`` (T,) after which the map was made, ``maps`` (T, num_classes),
        ``moved`` (T,) classes with another prompt than before, and ``sizes`` (T, M).

    Raises:
        FileNotFoundError: If there is no history.
    """
    rows = {}
    files = sorted(Path(folder).rglob(HISTORY))
    if not files:
        raise FileNotFoundError(
            f'no {HISTORY} in {str(folder)!r}: give the work dir of a run with '
            'SemanticMappingHook.'
        )
    for file in files:
        for line in file.read_text().splitlines():
            row = json.loads(line)
            rows[row['iter']] = row
    rows = [rows[i] for i in sorted(rows)]
    return dict(
        iterations=np.array([row['iter'] for row in rows]),
        maps=np.array([row['map'] for row in rows]),
        moved=np.array([row['moved'] for row in rows]),
        sizes=np.array([row['sizes'] for row in rows]),
    )


def draw(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Draw the map over updates, classes sorted by their last prompt.

    Args:
        arrays: What :func:`read_history` returned.
        path: The png file.
    """
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    maps, moved = arrays['maps'], arrays['moved']
    num_prompts = arrays['sizes'].shape[1]
    order = np.lexsort(maps[::-1])  # by the first map, then the second, ...
    fig, (top, below) = plt.subplots(
        *(2, 1),
        figsize=(8, 5),
        sharex=True,
        height_ratios=(4, 1),
        layout='constrained',
    )
    colours = plt.get_cmap('tab20', num_prompts)
    image = top.imshow(
        *(maps[:, order].T, colours),
        aspect='auto',
        interpolation='nearest',
        vmin=-0.5,
        vmax=num_prompts - 0.5,
    )
    fig.colorbar(image, ax=top, label='prompt', ticks=range(num_prompts))
    top.set_ylabel('class')
    top.set_yticks(range(len(order)), order, fontsize=7 if len(order) <= 40 else 2)
    below.bar(range(1, len(moved)), moved[1:], color='#0072B2')
    below.set_ylabel('classes moved')
    below.set_xlabel('update (0: before training)')
    fig.savefig(path, dpi=120)
    plt.close(fig)


def main(argv: list[str] | None = None) -> None:
    """Run the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('work_dir', help='work dir of a run')
    parser.add_argument(
        '--out', default='class_map', help='path without ending of the npz and png'
    )
    args = parser.parse_args(argv)
    arrays = read_history(args.work_dir)
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(out.with_name(out.name + '.npz'), **arrays)
    draw(arrays, out.with_name(out.name + '.png'))
    for i, (step, moved) in enumerate(zip(arrays['iterations'], arrays['moved'])):
        sizes = ' '.join(map(str, arrays['sizes'][i]))
        print(f'iteration {step:6d}  moved {moved:4d}  sizes {sizes}')


if __name__ == '__main__':
    main()
