#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Read which layers' prompts a tuned Gated Prompt Tuning model selects.

Writes the arrays to an npz file, then a picture of them (the figure 4 of the paper, for
one model):

    python tools/analysis/gates.py work_dirs/gated/epoch_100.pth --out gates
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / 'mmvpt' / '__init__.py').is_file():  # a checkout needs no installation
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from torch import Tensor  # noqa: E402

from mmvpt.checkpoint import read_checkpoint  # noqa: E402
from mmvpt.engine.launch import run_tool  # noqa: E402
from mmvpt.models.prompts.gated import selection_ratio  # noqa: E402


def read_gates(checkpoint: str) -> dict[str, np.ndarray]:
    """Read gates and temperatures from a checkpoint.

    Args:
        checkpoint: File or URL with ``prompt.gate_logits``, under any prefix.

    Returns:
        ``gates`` and ``selection_ratio`` (L - 1,), by layer; ``temperatures`` (L,) if
        the model has them.

    Raises:
        ValueError: If there is not exactly one set of gates.
    """
    state = read_checkpoint(checkpoint)
    state = state.get('state_dict', state)
    logits = _only(state, 'prompt.gate_logits', checkpoint)
    if logits is None:
        raise ValueError(
            f'{checkpoint} has no prompt.gate_logits: it is no model of GatedPrompt, '
            'or one with gates=False.'
        )
    arrays = dict(gates=logits.sigmoid(), selection_ratio=selection_ratio(logits))
    temperatures = _only(state, 'prompt.temperatures', checkpoint)
    if temperatures is not None:
        arrays['temperatures'] = temperatures
    return {name: array.detach().numpy() for name, array in arrays.items()}


def draw(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Draw each array over the layers, counted from 1."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    titles = dict(
        selection_ratio="share of the last layer's prompts",
        gates='gate after the layer',
        temperatures='temperature in the layer',
    )
    shown = [name for name in titles if name in arrays]
    fig, axes = plt.subplots(1, len(shown), figsize=(4 * len(shown), 3))
    for axis, name in zip(np.atleast_1d(axes), shown):
        axis.bar(np.arange(1, len(arrays[name]) + 1), arrays[name], color='#0072B2')
        axis.set_xlabel('layer')
        axis.set_title(titles[name], fontsize=10)
    fig.tight_layout()
    fig.savefig(path, dpi=120)
    plt.close(fig)


def _only(state: dict[str, Tensor], name: str, checkpoint: str) -> Tensor | None:
    """Return the one entry that ends with ``name``, or None."""
    keys = [key for key in state if key == name or key.endswith(f'.{name}')]
    if len(keys) > 1:
        raise ValueError(f'{checkpoint} has several of them: {", ".join(keys)}.')
    return state[keys[0]].float().cpu() if keys else None


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', help='a tuned model, file or URL')
    parser.add_argument(
        '--out', default='gates', help='path without ending of the npz and png files'
    )
    args = parser.parse_args(argv)
    arrays = read_gates(args.checkpoint)
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(out.with_name(out.name + '.npz'), **arrays)
    draw(arrays, out.with_name(out.name + '.png'))
    for i, share in enumerate(arrays['selection_ratio'], start=1):
        print(f'layer {i:2d}  gate {arrays["gates"][i - 1]:.6f}  share {share:.4f}')


if __name__ == '__main__':
    run_tool(main)
