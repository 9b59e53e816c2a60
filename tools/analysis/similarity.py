#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Look how alike the prompts of all layers are.

Writes cosines between all prompts to OUT.npz, then OUT.png. Prompts that depend on the
image (VAPT, Gated Prompt Tuning) are read from some images:

    python tools/analysis/similarity.py work_dirs/vpt-deep --out similarity
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
from mmvpt.engine.run import run_tool  # noqa: E402


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_run(parser)
    command.add_images(parser, 8)
    command.add_out(parser, 'similarity')
    args = parser.parse_args(argv)
    look = command.load_look(args)
    shown = look.of_first_size()
    arrays = analysis.prompt_similarity(look.model, shown.inputs)
    path = command.save_arrays(args.out, arrays)

    from mmvpt.analysis import pictures

    pictures.save(pictures.draw_similarity(arrays, len(shown.names)), path)
    for i, row in zip(arrays['layers'], arrays['means']):
        print(f'layer {i:2d}  ' + ' '.join(f'{value:6.3f}' for value in row))


if __name__ == '__main__':
    run_tool(main)
