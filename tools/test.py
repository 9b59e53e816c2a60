#!/usr/bin/env python
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Test a checkpoint with a config of mmpretrain's or mmsegmentation's scope."""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if (ROOT / 'mmvpt' / '__init__.py').is_file():  # a checkout needs no installation
    sys.path.insert(0, str(ROOT))

import mmengine  # noqa: E402
from mmengine.config import Config, ConfigDict  # noqa: E402
from mmengine.dist import is_main_process  # noqa: E402
from mmengine.evaluator import DumpResults  # noqa: E402

from mmvpt.checkpoint import use_safe_loading  # noqa: E402
from mmvpt.engine import run as launch  # noqa: E402

PICKLES = ('.pkl', '.pickle')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: Arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('--work-dir', help='folder for logs [work_dirs/<config name>]')
    parser.add_argument(
        '--out',
        help='file for predictions (.pkl) or metrics (.json); with mmseg and '
        'predictions a folder for label maps',
    )
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        help='what goes to --out [pred]',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument('--show', action='store_true', help='show results in a window')
    parser.add_argument('--show-dir', help='folder for pictures of the results')
    parser.add_argument(
        '--interval', type=int, default=1, help='picture every n-th image'
    )
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds per window with --show'
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: tta_model and tta_pipeline of the config, or a '
        'horizontal flip for classification',
    )
    launch.add_common_arguments(parser)
    args = parser.parse_args(argv)
    if args.out_item and not args.out:
        parser.error('--out-item needs --out')
    if args.out and args.out_item == 'metrics' and not args.out.endswith('.json'):
        parser.error(f'--out must end in .json for metrics, got {args.out}')
    return args


def merge_args(config: Config, args: argparse.Namespace) -> Config:
    """Put the command line into the config.

    Args:
        config: Changed in place.
        args: The parsed command line.
    """
    launch.choose_work_dir(config, args.config, args.work_dir)
    launch.name_experiment(config, args.config)
    for field in ('test_dataloader', 'test_cfg', 'test_evaluator'):
        if config.get(field) is None:
            raise SystemExit(f'test.py: error: {args.config} has no {field}')
    # Training objects need data that a test does not.
    for field in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        config[field] = None
    config.load_from, config.resume = args.checkpoint, False
    config.custom_hooks = [
        *(config.get('custom_hooks') or []),
        dict(type='mmvpt.CompleteWeightsHook'),
    ]
    if args.amp:
        config.test_cfg.fp16 = True
    if args.show or args.show_dir:
        _show(config, args)
    if args.tta:
        _augment(config, bool(args.show or args.show_dir))
    if args.out and args.out_item != 'metrics':
        _set_out(config, args.out)
    launch.set_dataloader_defaults(config, not args.no_pin_memory)
    return config


def _show(config: Config, args: argparse.Namespace) -> None:
    """Switch the visualization hook on; the two scopes name its options differently."""
    hook = config.setdefault('default_hooks', ConfigDict()).get('visualization')
    if config.get('default_scope') == 'mmseg':
        hook = hook or ConfigDict(type='SegVisualizationHook')
        hook.draw = True
        if args.show_dir:
            config.visualizer.save_dir = args.show_dir
    else:
        hook = hook or ConfigDict(type='VisualizationHook')
        hook.enable = True
        hook.out_dir = args.show_dir
    hook.update(show=args.show, wait_time=args.wait_time, interval=args.interval)
    config.default_hooks.visualization = hook


def _augment(config: Config, pictures: bool) -> None:
    """Set up test-time augmentation."""
    pipeline = config.test_dataloader.dataset.pipeline
    if config.get('default_scope') == 'mmpretrain':
        if pictures:
            raise SystemExit(
                'test.py: error: mmpretrain draws single images, not the copies of '
                '--tta; leave one of them out'
            )
        config.setdefault('tta_model', dict(type='mmpretrain.AverageClsScoreTTA'))
        flips = [dict(type='RandomFlip', prob=prob) for prob in (1.0, 0.0)]
        transforms = [flips, [copy.deepcopy(pipeline[-1])]]
        flip = dict(type='TestTimeAug', transforms=transforms)
        config.setdefault('tta_pipeline', [*copy.deepcopy(pipeline[:-1]), flip])
    for field in ('tta_model', 'tta_pipeline'):
        if config.get(field) is None:
            raise SystemExit(f'test.py: error: --tta needs {field} in the config')
    config.model = ConfigDict(**config.tta_model, module=config.model)
    config.test_dataloader.dataset.pipeline = config.tta_pipeline


def _set_out(config: Config, out: str) -> None:
    """Have predictions written to ``out``."""
    if config.get('default_scope') == 'mmseg':
        evaluators = config.test_evaluator
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            evaluator.output_dir = out
    elif not out.endswith(PICKLES):
        raise SystemExit(
            f'test.py: error: --out must end in .pkl for predictions, got {out}; for '
            'metrics add --out-item metrics'
        )


def main(
    argv: Sequence[str] | None = None,
    prepare: Callable[[Config], None] | None = None,
) -> dict:
    """Test.

    Args:
        argv: Arguments; those of the process by default.
        prepare: Called with the config before the command line goes into it.

    Returns:
        The metrics.
    """
    args = parse_args(argv)
    use_safe_loading(args.trust_checkpoint)
    config = launch.load_config(args.config, args.cfg_options)
    if prepare is not None:
        prepare(config)
    config = merge_args(config, args)
    with launch.distributed(config, args.launcher, args.local_rank):
        runner = launch.build_runner(config)
        to_pickle = args.out and args.out.endswith(PICKLES)
        if to_pickle and args.out_item != 'metrics':
            runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
        metrics = runner.test()
        if args.out_item == 'metrics' and is_main_process():
            mmengine.dump(metrics, args.out)
    return metrics


if __name__ == '__main__':
    launch.run_tool(main)
