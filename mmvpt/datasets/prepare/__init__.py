# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""From what people have (archives, folders, dumps) to what the datasets read."""

from .check import Report, check, table
from .run import prepare
from .task import RefusedError, Task
from .tasks import TASKS, find_task

__all__ = [
    'TASKS',
    'RefusedError',
    'Report',
    'Task',
    'check',
    'find_task',
    'prepare',
    'table',
]
