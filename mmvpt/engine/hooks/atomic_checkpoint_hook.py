# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Checkpoints that survive a kill, a power cut and a full disk."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from mmvpt.checkpoint import CheckpointError
from mmvpt.checkpoint.tuned import (
    META_KEY,
    Fingerprint,
    collect,
    fingerprints,
    frozen_backbones,
    frozen_names,
)
from mmvpt.engine.atomic_local_backend import AtomicLocalBackend
from mmvpt.engine.forward import unwrapped
from mmvpt.errors import UserError, similar
from mmvpt.files import TEMPORARY_SUFFIX
from mmvpt.registry import HOOKS


class _PatientBackend(AtomicLocalBackend):
    """An atomic backend that can put off removals until the new file is complete."""

    def __init__(self) -> None:
        self.waiting: list[str] | None = None

    def remove(self, filepath: str) -> None:
        """Remove a file, or note it when removals are put off."""
        if self.waiting is None:
            super().remove(filepath)
        else:
            self.waiting.append(filepath)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` whose files are always complete.

    * A checkpoint, the best one included, is written under a temporary name, flushed
      and renamed.
    * Older files go only after the new one is complete, so ``max_keep_ckpts`` needs
      room for one more. mmengine removes first.
    * A write that fails, on a full disk for instance, ends the run with the name of
      the file and of the last good checkpoint, and leaves no partial file.
    * Temporary files of a killed run are removed at the start.
    * mmengine saves before it validates. A resumed run repeats the validation that
      the interruption may have cut off, so ``save_best`` misses nothing.
    * Each checkpoint holds config, class names and normalisation as data, so that
      ``mmvpt.load`` and ``tools/publish.py`` need nothing else.

    Arguments are those of ``CheckpointHook``, and ``tuned_only``. With
    ``backend_args`` (remote storage) that backend writes the files, and atomicity is
    its business.

    Source: subclass of mmengine's ``CheckpointHook``.

    Args:
        *args: Passed on.
        tuned_only: Leave the frozen weights of the backbone out of every file, the
            averaged ones of ``EMAHook`` included, and note their fingerprint instead.
            Whoever loads such a file, to resume for instance, gets the frozen weights
            from ``init_cfg`` of the backbone, and they are compared.
        **kwargs: Passed on.

    Raises:
        UserError: For an unknown argument, which mmengine would notice only when the
            first checkpoint is due.
    """

    def __init__(self, *args: Any, tuned_only: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tuned_only = tuned_only
        self._marks: dict[str, Fingerprint] = {}
        allowed = inspect.signature(Runner.save_checkpoint).parameters
        for key in self.args:
            if key not in allowed:
                name = type(self).__name__
                known = {*allowed, *inspect.signature(CheckpointHook).parameters}
                raise UserError(f'{name} has no option {key!r}.{similar(key, known)}')
        self._is_local = self.backend_args is None and self.file_client_args is None
        if self._is_local:
            self.backend_args = dict(backend='mmvpt_atomic')

    def before_train(self, runner: Runner) -> None:
        """Prepare the folder and repeat a validation that may have been cut off."""
        super().before_train(runner)
        # Of the config in every checkpoint: yapf takes longer than all of the saving.
        object.__setattr__(runner.cfg, '_format_python_code', False)
        if self.tuned_only:
            self._marks = self._fingerprints(runner)
        if self._is_local:
            self.file_backend = _PatientBackend()
            self._remove_leftovers(runner)
        self._repeat_validation(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add what the weights mean; leave out frozen ones if told so."""
        model, meta = unwrapped(runner.model), checkpoint['meta']
        data = meta.get('dataset_meta') or {}
        tuned = collect(
            model,
            runner.cfg,
            state={},
            classes=data.get('classes'),
            palette=data.get('palette'),
            training={key: meta.get(key) for key in ('epoch', 'iter', 'seed')},
            marks=self._marks,
        )
        meta[META_KEY] = tuned.describe()
        if not self.tuned_only:
            return
        frozen, marks = frozen_names(model), tuned.marked_state()
        for key, prefix in (('state_dict', ''), ('ema_state_dict', 'module.')):
            if key in checkpoint:
                state = {
                    name: value
                    for name, value in checkpoint[key].items()
                    if name.removeprefix(prefix) not in frozen
                }
                state.update({prefix + name: mark for name, mark in marks.items()})
                checkpoint[key] = state

    @staticmethod
    def _fingerprints(runner: Runner) -> dict[str, Fingerprint]:
        """Identify the frozen weights, which training will not change."""
        model = unwrapped(runner.model)
        backbones = frozen_backbones(model)
        for path, backbone in backbones.items():
            if (backbone.init_cfg or {}).get('type') != 'Pretrained':
                raise UserError(
                    f'tuned_only leaves out the frozen weights of model.{path}, but '
                    'its init_cfg names no checkpoint with them, so they would be '
                    "lost. Set init_cfg=dict(type='Pretrained', checkpoint=...), or "
                    'tuned_only=False.'
                )
        if not backbones:
            runner.logger.info('tuned_only: nothing is frozen, all weights are saved.')
        return fingerprints(model)

    @master_only
    def _remove_leftovers(self, runner: Runner) -> None:
        """Remove what a kill in the middle of saving leaves behind."""
        for folder in {Path(self.out_dir), Path(runner.work_dir)}:
            for file in folder.glob(f'.*{TEMPORARY_SUFFIX}'):
                self._remove(runner, file, 'cut off by an interruption')
        kept = list(getattr(self, 'keep_ckpt_ids', ()))
        pattern = re.escape(self.filename_tmpl).replace(r'\{\}', r'(\d+)')
        for file in Path(self.out_dir).glob('*') if kept else ():
            match = re.fullmatch(pattern, file.name)
            if match and int(match.group(1)) < min(kept):
                self._remove(runner, file, 'beyond max_keep_ckpts')
        best = self._best_paths()
        for key in self.key_indicators if best else ():
            for file in Path(self.out_dir).glob(f'best_{key.replace("/", "_")}_*.pth'):
                if str(file) not in best:
                    self._remove(runner, file, 'no longer the best')

    @staticmethod
    def _remove(runner: Runner, file: Path, why: str) -> None:
        runner.logger.info(f'Removing {file}: {why}.')
        file.unlink()

    def _best_paths(self) -> set[str]:
        if not self.save_best:
            return set()
        if len(self.key_indicators) == 1:
            return {str(self.best_ckpt_path)} if self.best_ckpt_path else set()
        return {str(path) for path in self.best_ckpt_path_dict.values() if path}

    @staticmethod
    def _repeat_validation(runner: Runner) -> None:
        loop = runner.train_loop
        if isinstance(loop, EpochBasedTrainLoop):
            done, end = runner.epoch, loop.max_epochs
        elif isinstance(loop, IterBasedTrainLoop):
            done, end = runner.iter, loop.max_iters
        else:
            return
        if runner.val_loop is None or done == 0 or done < loop.val_begin:
            return
        if done % loop.val_interval == 0 or done == end:
            runner.logger.info('Repeating the validation of the resumed checkpoint.')
            runner.val_loop.run()

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        with self._removals_last(runner):
            super()._save_checkpoint_with_step(runner, step, meta)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        with self._removals_last(runner):
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _removals_last(self, runner: Runner) -> Iterator[None]:
        """Put off the removals of the block to its end and word its write errors."""
        backend = self.file_backend
        if not self._is_local or backend.waiting is not None:
            yield
            return
        note = Path(runner.work_dir) / 'last_checkpoint'
        last_good = note.read_text().strip() if note.is_file() else None
        backend.waiting = []
        try:
            yield
            waiting = backend.waiting
        except OSError as error:
            hint = (
                f'The last good checkpoint is {last_good}; continue with --resume.'
                if last_good
                else 'No checkpoint was complete before.'
            )
            raise CheckpointError(
                f'could not write the checkpoint {error.filename or self.last_ckpt}: '
                f'{error.strerror or error}. {hint} Make room on the disk, or choose '
                'another --work-dir, a larger interval or a smaller max_keep_ckpts.'
            ) from error
        finally:
            backend.waiting = None
        for path in waiting:
            if str(path) not in self._best_paths():
                backend.remove(path)
