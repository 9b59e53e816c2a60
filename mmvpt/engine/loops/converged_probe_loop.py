# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The linear probe, trained until it has converged."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import all_gather_object, broadcast, get_dist_info
from mmengine.runner import BaseLoop, Runner
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from mmvpt.engine.forward import unwrapped
from mmvpt.engine.guidance.class_pass import eval_pipeline
from mmvpt.errors import UserError
from mmvpt.registry import LOOPS


@LOOPS.register_module()
class ConvergedProbeLoop(BaseLoop):
    r"""Fit the linear head to frozen features until the gradient vanishes.

    Features of the training images are computed once, in eval mode and with the
    pipeline of the validation (or test) data, and standardised: :math:`z = (x - \mu) /
    \sigma`, channel by channel. In float64 the configured optimizer then minimises

    .. math::
        \frac1n \sum_i \mathrm{CE}(W z_i + b, y_i) + \tfrac{\lambda}{2} \lVert W
        \rVert^2

    for every :math:`\lambda` in ``l2``. The one with the best validation accuracy stays
    (ties: the lower validation loss), and the standardisation is folded into
    ``head.fc``, so the checkpoint is an ordinary one. This is scikit-learn's
    ``LogisticRegression`` with :math:`C = 1 / (\lambda n)`.

    A probe trained for a fixed number of epochs with SGD usually stops short of this
    and flatters what it is compared with.

    Under a distributed launch the images are shared out, rank 0 fits.

    Args:
        runner: The runner.
        dataloader: Training data; shuffling and its own pipeline are not used.
        l2: Strengths :math:`\lambda` to choose from; a single one needs no validation.
        tolerance: Largest entry of the gradient that counts as converged.
        max_steps: Calls of ``optimizer.step``, each of ``max_iter`` iterations with
            L-BFGS.

    Raises:
        UserError: If an option is out of range, something besides ``head.fc`` is
            tuned, or the head has no linear layer ``fc``.
    """

    val_begin = val_interval = 1
    max_epochs = max_iters = 1

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        l2: Sequence[float],
        tolerance: float = 1e-6,
        max_steps: int = 50,
    ) -> None:
        if not l2 or any(not value >= 0 for value in l2):
            raise UserError(f'l2 must be a list of numbers from 0 on, got {l2}')
        if tolerance <= 0 or max_steps < 1:
            raise UserError(
                'tolerance must be positive and max_steps at least 1, got '
                f'{tolerance} and {max_steps}'
            )
        if len(l2) > 1 and runner._val_dataloader is None:
            raise UserError(
                f'choosing among {len(l2)} values of l2 needs validation data. Set '
                'val_dataloader, or give a single value, train_cfg.l2=[0.01].'
            )
        if runner.param_schedulers:
            raise UserError(
                'a learning rate schedule has no effect on a converged probe; set '
                'param_scheduler=None'
            )
        if isinstance(dataloader, dict):
            others = (runner._val_dataloader, runner._test_dataloader)
            dataloader = self.for_evaluation(dataloader, *others)
        super().__init__(runner, dataloader)
        self.l2 = sorted(map(float, l2), reverse=True)
        self.tolerance = tolerance
        self.max_steps = max_steps
        self.stop_training = False
        self._epoch = self._iter = 0

    @property
    def epoch(self) -> int:
        """1 after fitting, else 0."""
        return self._epoch

    @property
    def iter(self) -> int:
        """1 after fitting, else 0."""
        return self._iter

    @staticmethod
    def for_evaluation(train: dict, *others: Any) -> dict:
        """Return training data that are read as validation and test data are.

        In order, whole, and with the pipeline of the first of ``others`` that has one;
        if none has, with their own.

        Args:
            train: The config of the training data loader.
            *others: The configs of the validation and test data loaders; None, or what
                is built already, has no pipeline.

        Raises:
            UserError: If the training data have no pipeline that could be replaced.
        """
        loader = copy.deepcopy(train)
        loader['sampler'] = dict(type='DefaultSampler', shuffle=False, round_up=False)
        loader.update(drop_last=False, persistent_workers=False)
        pipeline = eval_pipeline(*others)
        if pipeline is None:
            return loader
        if 'pipeline' not in loader['dataset']:
            raise UserError(
                'the converged probe reads the training images with the pipeline of '
                'the validation, but train_dataloader.dataset (a '
                f'{loader["dataset"]["type"]}) has no pipeline to replace'
            )
        loader['dataset']['pipeline'] = copy.deepcopy(pipeline)
        return loader

    def run(self) -> nn.Module:
        """Fit the head, save, validate."""
        self.runner.call_hook('before_train')
        if self._epoch == 0:
            self.runner.call_hook('before_train_epoch')
            model = unwrapped(self.runner.model)
            self._fit(model, self._linear(model))
            self._iter = 1
            self.runner.call_hook('after_train_epoch')
            self._epoch = 1
        if self.runner.val_loop is not None:
            self.runner.val_loop.run()
        self.runner.call_hook('after_train')
        return self.runner.model

    @staticmethod
    def _linear(model: nn.Module) -> nn.Linear:
        fc = getattr(getattr(model, 'head', None), 'fc', None)
        if type(fc) is not nn.Linear:
            head = type(getattr(model, 'head', None)).__name__
            raise UserError(
                'the converged probe fits a linear layer model.head.fc, but in this '
                f'{head} it is {type(fc).__name__}. Use head=dict(type='
                "'LinearClsHead')."
            )
        tuned = [n for n, p in model.named_parameters() if p.requires_grad]
        others = [n for n in tuned if n not in ('head.fc.weight', 'head.fc.bias')]
        if others:
            raise UserError(
                'a converged probe tunes head.fc alone, but these are tuned as well: '
                f'{", ".join(others[:5])}{" ..." * (len(others) > 5)}. Set '
                "model.backbone.prompt=None and model.backbone.tunable='none'."
            )
        return fc

    def _fit(self, model: nn.Module, fc: nn.Linear) -> None:
        x, y = self._features(model, self.dataloader)
        val = None
        if len(self.l2) > 1:
            val = self._features(model, self.runner.val_dataloader)
        weight, bias = fc.weight.detach().double(), torch.zeros_like(y[:1]).double()
        bias = bias.expand(len(weight)).contiguous()
        if get_dist_info()[0] == 0:
            mean = x.mean(0)
            std = x.std(0, unbiased=False)
            std = torch.where(std > 0, std, torch.ones_like(std))
            if val is not None:
                val = ((val[0] - mean) / std, val[1])
            weight, bias = self._choose((x - mean) / std, y, val, len(weight))
            weight = weight / std
            bias = bias - weight @ mean
        weight, bias = weight.contiguous(), bias.contiguous()
        broadcast(weight)
        broadcast(bias)
        with torch.no_grad():
            fc.weight.copy_(weight)
            if fc.bias is not None:
                fc.bias.copy_(bias)

    @torch.no_grad()
    def _features(self, model: nn.Module, loader: DataLoader) -> tuple[Tensor, Tensor]:
        """Compute what enters ``head.fc``, (n, C) in float64, and labels, (n,)."""
        model.eval()
        features, labels = [], []
        for batch in loader:
            data = model.data_preprocessor(batch, training=False)
            features.append(model.extract_feat(data['inputs'], stage='pre_logits'))
            labels += [sample.gt_label for sample in data['data_samples']]
        if any(label.numel() != 1 for label in labels):
            raise UserError('the converged probe needs one label for each image')
        device = features[0].device
        parts = all_gather_object(
            (torch.cat(features).double().cpu(), torch.cat(labels).cpu())
        )
        x = torch.cat([x for x, _ in parts])
        y = torch.cat([y for _, y in parts])
        # Rank r read the images r, r + R, ... of a list that may have been rounded up.
        place = [i for r in range(len(parts)) for i in range(r, len(y), len(parts))]
        order = torch.tensor(place).argsort()[: len(loader.dataset)]
        x, y = x[order], y[order]
        return x.to(device), y.to(device)

    def _choose(
        self,
        x: Tensor,
        y: Tensor,
        val: tuple[Tensor, Tensor] | None,
        num_classes: int,
    ) -> tuple[Tensor, Tensor]:
        """Fit for every strength, from strong to weak, each from the last solution.

        Args:
            x: Standardised features, (n, C).
            y: Labels, (n,).
            val: The same of the validation images.
            num_classes: K.

        Returns:
            Weight (K, C) and bias (K,) of the best strength.
        """
        weight = x.new_zeros(num_classes, x.shape[1])
        bias = x.new_zeros(num_classes)
        best: tuple[tuple[float, float], float, Tensor, Tensor] | None = None
        for l2 in self.l2:
            weight, bias, gradient, steps = self.minimise(x, y, l2, weight, bias)
            text = f'Probe l2={l2:g}: gradient {gradient:.1e} after {steps} iterations'
            score = (0.0, 0.0)
            if val is not None:
                logits = val[0] @ weight.T + bias
                accuracy = (logits.argmax(1) == val[1]).double().mean().item()
                score = (accuracy, -F.cross_entropy(logits, val[1]).item())
                text += f', validation accuracy {100 * accuracy:.2f}'
            self.runner.logger.info(text)
            if gradient > self.tolerance:
                self.runner.logger.warning(
                    f'The probe with l2={l2:g} has not converged (gradient '
                    f'{gradient:.1e}, tolerance {self.tolerance:.1e}): raise max_steps.'
                )
            if best is None or score > best[0]:
                best = (score, l2, weight, bias)
        _, l2, weight, bias = best  # type: ignore[misc]  # self.l2 is not empty
        self.runner.logger.info(f'Probe: l2={l2:g} is chosen.')
        if len(self.l2) > 1 and l2 in (self.l2[0], self.l2[-1]):
            self.runner.logger.warning(
                f'l2={l2:g} is the end of the list: the best may lie beyond it.'
            )
        return weight, bias

    @torch.enable_grad()
    def minimise(
        self, x: Tensor, y: Tensor, l2: float, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor, float, int]:
        """Minimise the objective for one strength.

        Args:
            x: Standardised features, (n, C) in float64.
            y: Labels, (n,).
            l2: The strength.
            weight: Start, (K, C).
            bias: Start, (K,).

        Returns:
            Weight, bias, the largest entry of the gradient, and iterations.
        """
        weight = weight.clone().requires_grad_()
        bias = bias.clone().requires_grad_()
        configured: Any = self.runner.optim_wrapper.optimizer
        optimizer = type(configured)([weight, bias], **configured.defaults)

        def objective() -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(x @ weight.T + bias, y)
            loss = loss + l2 / 2 * weight.square().sum()
            loss.backward()
            return loss

        gradient = math.inf
        steps = 0
        for _ in range(self.max_steps):
            optimizer.step(objective)
            steps += 1
            objective()
            gradient = max(weight.grad.abs().max(), bias.grad.abs().max()).item()
            if gradient <= self.tolerance:
                break
        steps = optimizer.state[weight].get('n_iter', steps)
        return weight.detach(), bias.detach(), gradient, int(steps)
