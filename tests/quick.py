# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What lets tiny runs be quick, in the tests' process and in those that they start."""

import os
import socket
import sys

import mmengine.runner.runner
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import yapf.yapflib.yapf_api


def spare():
    """Spare runs what takes longer than they do.

    A report of compilers and drivers, and formatting the config that goes into logs and
    checkpoints.
    """
    mmengine.runner.runner.collect_env = dict
    yapf.yapflib.yapf_api.FormatCode = lambda text, *_, **__: (text, True)


def two_ranks(function, *args, group=True):
    """Run ``function(rank, *args)`` in two processes, of one group unless told else.

    They are forked where that is safe: importing everything anew takes longer than what
    they compute.
    """
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    how = 'fork' if sys.platform == 'linux' else 'spawn'
    mp.start_processes(_one_rank, (function, port, group, args), 2, start_method=how)


def _one_rank(rank, function, port, group, args):
    spare()
    torch.set_num_threads(1)
    place = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=2, MASTER_PORT=port)
    os.environ.update(MASTER_ADDR='127.0.0.1', **{k: str(v) for k, v in place.items()})
    if group:
        dist.init_process_group('gloo')
    function(rank, *args)
    # Models for distributed training keep gloo's threads until they are collected;
    # where that falls into the end of the interpreter, the process may abort.
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
    os._exit(0)


def launched(rank, tool, *args):
    """Run ``train`` or ``test`` as one of the processes that ``torchrun`` starts."""
    from tests.tools import programs

    main = getattr(programs, f'{tool}_tool').main
    main([*map(str, args), '--launcher', 'pytorch'])


def asked(request, name, table):
    """Return the entries of ``table`` that collected tests of a module ask for.

    Args:
        request: Of a fixture of the module.
        name: The parameter whose values are keys of the table.
        table: What a sweep goes through.
    """
    keys = {
        item.callspec.params.get(name)
        for item in request.session.items
        if item.path == request.path and hasattr(item, 'callspec')
    }
    return {key: value for key, value in table.items() if key in keys}


def swept(table, *kept):
    """Return the keys of ``table`` as parameters, all but ``kept`` for the sweep."""
    return [
        pytest.param(key, marks=() if key in kept else pytest.mark.sweep)
        for key in table
    ]


def in_turn(ones, others, *kept):
    """Return pairs as parameters, so that each of both sides meets one of the other.

    Args:
        ones: One side.
        others: The other.
        *kept: More pairs that stay; all others are for the sweep.
    """
    period = min(len(ones), len(others))

    def marks(pair, turn):
        kept_here = turn % period == 0 or pair in kept
        return () if kept_here else pytest.mark.sweep

    return [
        pytest.param(one, other, marks=marks((one, other), i - k))
        for i, one in enumerate(ones)
        for k, other in enumerate(others)
    ]
