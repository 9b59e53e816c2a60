# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Peak memory of one run in a process that does several."""

from __future__ import annotations

import re
from pathlib import Path

import torch

_PROCESS = Path('/proc/self')


def reset_peak_memory() -> None:
    """Forget the peak so far."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        (_PROCESS / 'clear_refs').write_text('5')  # resets VmHWM, see man proc
    except OSError:
        pass  # peak_memory() then covers the whole life of the process


def peak_memory() -> int | None:
    """Return the peak in bytes: of the GPU, else of the process; None if unknown."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        status = (_PROCESS / 'status').read_text()
    except OSError:
        return None
    peak = re.search(r'VmHWM:\s+(\d+) kB', status)
    return int(peak.group(1)) * 1024 if peak else None
