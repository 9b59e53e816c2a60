#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Look which layers' prompts a tuned Gated Prompt Tuning model selects.

Writes gates, weights, selection ratio (figure 4 of the paper, for one model) and
temperatures of each layer to OUT.npz, then OUT.png:

    python tools/analysis/gates.py work_dirs/gated/epoch_100.pth --out gates
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if (ROOT / 'mmvpt' / '__init__.py').is_file():  # a checkout needs no installation
    sys.path.insert(0, str(ROOT))

from mmvpt import analysis  # noqa: E402
from mmvpt.analysis import command  # noqa: E402
from mmvpt.checkpoint import read_checkpoint  # noqa: E402
from mmvpt.engine.run import run_tool  # noqa: E402
from mmvpt.engine.work_dir import list_checkpoints  # noqa: E402


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'checkpoint', help='a tuned model, file or URL, or a work dir (the last one)'
    )
    command.add_out(parser, 'gates')
    args = parser.parse_args(argv)
    checkpoint = args.checkpoint
    if Path(checkpoint).is_dir() and list_checkpoints(checkpoint):
        checkpoint = str(list_checkpoints(checkpoint)[-1])
    state = read_checkpoint(checkpoint)
    arrays = analysis.gates_of_state(state.get('state_dict', state), checkpoint)
    path = command.save_arrays(args.out, arrays)

    from mmvpt.analysis import pictures

    pictures.save(pictures.draw_gates(arrays), path)
    count = max(map(len, arrays.values()))
    for i in range(count):
        line = f'layer {i:2d}'
        if 'temperatures' in arrays:
            line += f'  temperature {arrays["temperatures"][i]:.4f}'
        if i < len(arrays.get('gates', ())):
            line += (
                f'  gate behind it {arrays["gates"][i]:.6f}  '
                f'selection ratio {arrays["selection_ratio"][i]:.4f}'
            )
        print(line)


if __name__ == '__main__':
    run_tool(main)
