# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Which data may choose what, checked on the config that runs, recorded with it."""

from .guard import LeakError, inspect_data, list_images, refuse_other_draws, summarize
from .protocols import PROTOCOLS, Protocol, apply_protocol, get_protocol, metric_of
from .provenance import describe_checkpoint, describe_code, describe_config
from .records import (
    InvalidRecordError,
    comparable,
    read_record,
    read_records,
    validate,
    write_json,
    write_record,
)

__all__ = [
    'InvalidRecordError',
    'LeakError',
    'PROTOCOLS',
    'Protocol',
    'apply_protocol',
    'comparable',
    'describe_checkpoint',
    'describe_code',
    'describe_config',
    'get_protocol',
    'inspect_data',
    'list_images',
    'metric_of',
    'read_record',
    'read_records',
    'refuse_other_draws',
    'summarize',
    'validate',
    'write_json',
    'write_record',
]
