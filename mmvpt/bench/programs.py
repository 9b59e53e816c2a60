# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""How search, benchmark and report start and end as programs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

#: Errors that are worded for users.
WORDED = (ValueError, RuntimeError, OSError)


def run_program(main: Callable[[], object]) -> None:
    """Run a tool: errors worded for users end it with status 1 and no traceback.

    Args:
        main: The tool.
    """
    name = Path(sys.argv[0]).name
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(f'{name}: interrupted; run the command again to continue')
    except WORDED as error:
        print(f'{name}: error: {error}', file=sys.stderr)
        sys.exit(1)


def say(text: str) -> None:
    """Print a step."""
    print(f'==> {text}', flush=True)


def detail(text: str) -> None:
    """Print something that happened within a step."""
    print(f'    {text}', flush=True)
