# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Records that are there already."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from . import InvalidRecordError, read_record


def kept_record(path: Path, mark: str) -> dict[str, Any] | None:
    """Return the record of the same run or search; set aside what else has its name.

    Args:
        path: Where it would be.
        mark: Its fingerprint.
    """
    if not path.exists():
        return None
    try:
        record = read_record(path)
        if record['fingerprint'] == mark:
            return record
    except InvalidRecordError as error:
        print(f'{error}; it is done again', file=sys.stderr)
    os.replace(path, path.with_suffix('.old'))
    return None
