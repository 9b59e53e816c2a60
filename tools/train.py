#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Train a config of mmpretrain's or mmsegmentation's scope."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if (ROOT / 'mmvpt' / '__init__.py').is_file():  # a checkout needs no installation
    sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.logging import print_log  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from mmvpt.checkpoint import use_safe_loading  # noqa: E402
from mmvpt.engine import run as launch  # noqa: E402
from mmvpt.engine import work_dir  # noqa: E402


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir', help='folder for logs and checkpoints [work_dirs/<config name>]'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='PATH',
        help='continue from this checkpoint; without PATH from the last one in the '
        'work dir, or from the start if there is none',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='start afresh, deleting the checkpoints of an earlier run in the work dir',
    )
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision (bfloat16 on the CPU)'
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='no validation during training'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by batch size / auto_scale_lr.base_batch_size',
    )
    parser.add_argument(
        '--no-persistent-workers',
        action='store_true',
        help='start the data-loading workers anew in every epoch',
    )
    launch.add_common_arguments(parser)
    args = parser.parse_args(argv)
    if args.overwrite and args.resume:
        parser.error('--overwrite deletes what --resume continues; give one of them')
    return args


def merge_args(config: Config, args: argparse.Namespace) -> Config:
    """Put the command line into the config.

    Args:
        config: Changed in place.
        args: The parsed command line.
    """
    launch.choose_work_dir(config, args.config, args.work_dir)
    launch.name_experiment(config, args.config)
    if args.no_validate:
        config.val_cfg = config.val_dataloader = config.val_evaluator = None
    if args.amp:
        use_amp(config)
    if args.auto_scale_lr:
        if not config.get('auto_scale_lr'):
            raise SystemExit(
                f'train.py: error: --auto-scale-lr needs auto_scale_lr=dict('
                f'base_batch_size=...) in {args.config}'
            )
        config.auto_scale_lr.enable = True
    launch.set_dataloader_defaults(
        config, not args.no_pin_memory, not args.no_persistent_workers
    )
    return config


def use_amp(config: Config) -> None:
    """Switch the optimizer wrapper to mixed precision.

    Args:
        config: Changed in place.
    """
    wrapper = config.optim_wrapper
    current = wrapper.get('type', 'OptimWrapper')
    if current in ('AmpOptimWrapper', 'mmvpt.AutocastOptimWrapper'):
        return
    if current != 'OptimWrapper':
        raise SystemExit(
            'train.py: error: --amp replaces an optim_wrapper of type OptimWrapper, '
            f'but the config has {current}'
        )
    if torch.cuda.is_available():
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
    else:
        wrapper.type = 'mmvpt.AutocastOptimWrapper'


def set_start(config: Config, args: argparse.Namespace) -> None:
    """Decide what the run starts from, and refuse to mix it with an earlier run.

    Args:
        config: Changed in place.
        args: The parsed command line.
    """
    if args.resume == 'auto':
        last = work_dir.last_checkpoint(config.work_dir)
        if last is None:
            print_log(f'{config.work_dir} holds no checkpoint: starting afresh')
        config.resume = last is not None
        if last is not None:
            config.load_from = str(last)
    elif args.resume is not None:
        config.resume, config.load_from = True, args.resume
    if config.get('resume'):
        config.custom_hooks = [
            *(config.get('custom_hooks') or []),
            dict(type='mmvpt.CompleteWeightsHook'),
        ]
    elif launch.process_rank(args.launcher) == 0:
        work_dir.clear_for_fresh_run(config.work_dir, args.overwrite)


def main(
    argv: Sequence[str] | None = None,
    prepare: Callable[[Config], None] | None = None,
    built: Callable[[Runner], None] | None = None,
) -> Runner:
    """Train.

    Args:
        argv: Arguments; those of the process by default.
        prepare: Called with the config before the command line goes into it.
        built: Called with the runner before it trains.

    Returns:
        The runner after training.
    """
    args = parse_args(argv)
    use_safe_loading(args.trust_checkpoint)
    config = launch.load_config(args.config, args.cfg_options)
    if prepare is not None:
        prepare(config)
    config = merge_args(config, args)
    is_first = launch.process_rank(args.launcher) == 0
    lock = work_dir.lock_work_dir(config.work_dir)
    with lock if is_first else contextlib.nullcontext():
        set_start(config, args)
        with launch.distributed(config, args.launcher, args.local_rank):
            runner = launch.build_runner(config)
            if built is not None:
                built(runner)
            runner.train()
    return runner


if __name__ == '__main__':
    launch.run_tool(main)
