# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Which points a search tries: in rounds, each a pure function of the rounds before.

A trial has a slot, its number in the search. The points of a round depend on the space,
the seed and the outcomes of earlier rounds alone, never on which worker was faster. So
a search with any number of workers, killed and continued any number of times, tries the
same points and finds the same.
"""

from __future__ import annotations

import itertools
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata

from mmvpt.errors import UserError, require_known

from .space import Dimension, Point, Space


@dataclass(frozen=True)
class Planned:
    """A trial to be run."""

    slot: int
    point: Point
    #: where the trial stops if its validation is below: step -> value
    thresholds: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a trial ended."""

    state: str  # 'complete', 'pruned' or 'diverged'
    value: float | None  # validation metric at the end, None if there was no end
    steps: Mapping[int, float] = field(default_factory=dict)  # validations on the way
    cost: float = 0.0  # epochs or iterations trained


class Strategy(ABC):
    """A way to search.

    Args:
        space: What varies.
        seed: Of everything random.
        total: How many trials there will be, at most.
    """

    name = ''

    def __init__(self, space: Space, seed: int, total: int) -> None:
        self.space, self.seed, self.total = space, seed, total
        self._rounds: list[list[Planned]] = []

    def describe(self) -> dict:
        """Return name and settings, for the record."""
        return dict(name=self.name, seed=self.seed)

    @abstractmethod
    def _next(self, done: Mapping[int, Outcome]) -> list[Point]:
        """Return the points of the next round, [] at the end."""

    def _thresholds(self, done: Mapping[int, Outcome]) -> dict[int, float]:
        return {}

    @property
    def planned(self) -> list[Planned]:
        """All trials that are known by now."""
        return [trial for trials in self._rounds for trial in trials]

    def plan(self, finished: Mapping[int, Outcome]) -> list[Planned] | None:
        """Return the round that is under way, None when the search is over.

        Args:
            finished: The outcomes so far, by slot.
        """
        while True:
            if self._rounds:
                last = self._rounds[-1]
                if any(trial.slot not in finished for trial in last):
                    return last
            known = len(self.planned)
            done = {slot: finished[slot] for slot in range(known)}
            points = self._next(done)
            if not points:
                return None
            thresholds = self._thresholds(done)
            self._rounds.append(
                [Planned(known + i, p, thresholds) for i, p in enumerate(points)]
            )

    def best(self, finished: Mapping[int, Outcome]) -> Planned | None:
        """Return the best complete trial; ties go to the earlier point of the space."""
        values = {s: o.value for s, o in finished.items() if o.value is not None}
        complete = [trial for trial in self.planned if trial.slot in values]
        return min(complete, key=lambda t: (-values[t.slot], t.point), default=None)


class Grid(Strategy):
    """Every point of the space once."""

    name = 'grid'

    def __init__(self, space: Space, seed: int = 0) -> None:
        self._points = list(space.points())
        super().__init__(space, seed, len(self._points))

    def _next(self, done: Mapping[int, Outcome]) -> list[Point]:
        return [] if done else self._points


class Fixed(Grid):
    """No search: the config as it is, the one point of a space without dimensions."""

    name = 'fixed'

    def __init__(self, space: Space, seed: int = 0) -> None:
        super().__init__(Space({}), seed)


class Coordinate(Strategy):
    """One dimension after the other, the others at their best so far.

    Starts at ``start`` of the space. A grid of 10 x 4 x 6 points takes 240 trials, this
    takes 18.
    """

    name = 'coordinate'

    def __init__(self, space: Space, seed: int = 0) -> None:
        next(space.points(), None)  # refuses ranges
        others = sum(len(d.values) - 1 for d in space.dimensions)
        super().__init__(space, seed, 1 + others)
        self._left = iter(enumerate(space.dimensions))

    def _next(self, done: Mapping[int, Outcome]) -> list[Point]:
        if not done:
            return [self.space.start]
        seen = {trial.point for trial in self.planned}
        best = self.best(done)
        here = self.space.start if best is None else best.point
        for i, dimension in self._left:
            values = range(len(dimension.values))
            points = [(*here[:i], value, *here[i + 1 :]) for value in values]
            new = [point for point in points if point not in seen]
            if new:
                return new
        return []


class TPE(Strategy):
    """Optuna's tree-structured Parzen estimator, in rounds.

    A round of ``batch`` points is drawn one by one; each sees the outcomes of earlier
    rounds, and the points of its own round as running. No point of a finite space is
    tried twice.

    Args:
        space: What varies.
        seed: Of the sampler; trial i draws from (seed, i).
        trials: Number of trials.
        batch: Trials of a round: as many can run side by side.

    Raises:
        UserError: If a number is below 1.
    """

    name = 'tpe'

    def __init__(
        self, space: Space, seed: int = 0, trials: int = 24, batch: int = 4
    ) -> None:
        if trials < 1 or batch < 1:
            raise UserError(f'trials and batch must be at least 1: {trials}, {batch}')
        super().__init__(space, seed, int(min(trials, space.size)))
        self.batch = batch
        # drawn at random first, after the start of the space
        self.startup = max(batch, self.total // 3)

    def describe(self) -> dict:
        """Return name and settings, for the record."""
        settings = dict(trials=self.total, batch=self.batch, startup=self.startup)
        # Another version of it may draw other points.
        return {**super().describe(), **settings, 'optuna': metadata.version('optuna')}

    def _next(self, done: Mapping[int, Outcome]) -> list[Point]:
        known: list[tuple[Point, Outcome | None]] = [
            (trial.point, done[trial.slot]) for trial in self.planned
        ]
        first = len(known)
        for slot in range(first, min(first + self.batch, self.total)):
            known.append((self._draw(slot, known), None))
        return [point for point, _ in known[first:]]

    def _draw(self, slot: int, known: list[tuple[Point, Outcome | None]]) -> Point:
        if slot == 0:
            return self.space.start
        seen = {point for point, _ in known}
        for attempt in range(20):
            point = self._sample(slot, attempt, known)
            if not self.space.is_finite or point not in seen:
                return point
        return next(point for point in self.space.points() if point not in seen)

    def _sample(self, slot, attempt, known) -> Point:
        import numpy as np
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        named = distributions(self.space)
        state = np.random.SeedSequence([self.seed, slot, attempt]).generate_state(1)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            sampler = optuna.samplers.TPESampler(
                seed=int(state[0]), n_startup_trials=self.startup, constant_liar=True
            )
            study = optuna.create_study(direction='maximize', sampler=sampler)
            for point, outcome in known:
                study.add_trial(_frozen(named, point, outcome))
            params = study.ask(named).params
        return tuple(params[d.name] for d in self.space.dimensions)


class ASHA(TPE):
    """TPE with successive halving: trials behind at a rung end there.

    Rungs are at about 1/9 and 1/3 of the training. A trial goes on from a rung if its
    validation is among the best third of what trials of *earlier rounds* reached there.
    Unlike the asynchronous rule of ASHA, which compares with whatever has been reported
    by then, this does not depend on timing; the trials of the first round run to their
    end.

    Args:
        space: What varies.
        length: Length of a training in epochs or iterations.
        **kwargs: As in :class:`TPE`.

    Raises:
        UserError: If the training is too short for a rung.
    """

    name = 'asha'
    eta = 3  # one in so many trials goes on

    def __init__(self, space: Space, length: int, **kwargs) -> None:
        super().__init__(space, **kwargs)
        self.interval = max(1, length // self.eta**2)
        rungs = (self.interval, self.interval * self.eta)
        self.rungs = [step for step in rungs if step < length]
        if not self.rungs:
            raise UserError(
                f'a training of {length} steps has no room to stop a trial on the way. '
                'Search with tpe.'
            )

    def describe(self) -> dict:
        """Return name and settings, for the record."""
        return {**super().describe(), 'eta': self.eta, 'rungs': self.rungs}

    def _thresholds(self, done: Mapping[int, Outcome]) -> dict[int, float]:
        thresholds = {}
        for rung in self.rungs:
            values = [o.steps[rung] for o in done.values() if rung in o.steps]
            if len(values) >= self.eta:
                values.sort(reverse=True)
                thresholds[rung] = values[math.ceil(len(values) / self.eta) - 1]
        return thresholds


STRATEGIES = dict(grid=Grid, tpe=TPE, asha=ASHA, coordinate=Coordinate, fixed=Fixed)


def distributions(space: Space) -> dict:
    """Return Optuna's description of a space; list items go by their number."""
    return {d.name: _distribution(d) for d in space.dimensions}


def _distribution(dimension: Dimension):
    from optuna import distributions as kinds

    if not dimension.is_list:
        return kinds.FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    count = len(dimension.values)
    if any(isinstance(value, (str, bool)) for value in dimension.values):
        return kinds.CategoricalDistribution(list(range(count)))
    return kinds.IntDistribution(0, count - 1)  # lists are ordered


def _frozen(named: dict, point: Point, outcome: Outcome | None):
    """Return a trial for Optuna; one that has not ended counts as running."""
    from optuna.trial import TrialState, create_trial

    common = dict(params=dict(zip(named, point)), distributions=named)
    if outcome is None:
        return create_trial(state=TrialState.RUNNING, **common)
    if outcome.state == 'complete':
        return create_trial(value=outcome.value, **common)
    return create_trial(
        state=TrialState.PRUNED, intermediate_values=dict(outcome.steps), **common
    )


def make_strategy(
    name: str, space: Space, seed: int, trials: int, batch: int, length: int
) -> Strategy:
    """Return a strategy by name.

    Args:
        name: One of ``STRATEGIES``; asha is tpe for trainings of a single step.
        space: What varies.
        seed: Of everything random.
        trials: Number of trials, for tpe and asha.
        batch: Trials of a round, for tpe and asha.
        length: Length of a training, for asha.

    Raises:
        UserError: If there is none of that name, or it does not fit the space.
    """
    require_known('strategy', [name], STRATEGIES)
    if name == 'tpe' or (name == 'asha' and length < 2):  # nowhere to stop a trial
        return TPE(space, seed, trials, batch)
    if name == 'asha':
        return ASHA(space, length, seed=seed, trials=trials, batch=batch)
    return STRATEGIES[name](space, seed)


def curve(outcomes: Mapping[int, Outcome]) -> list[tuple[float, float]]:
    """Return (cost so far, best value so far) after each trial, in their order."""
    ordered = [outcomes[slot] for slot in sorted(outcomes)]
    costs = itertools.accumulate(outcome.cost for outcome in ordered)
    best, points = -math.inf, []
    for cost, outcome in zip(costs, ordered):
        if outcome.state == 'complete' and outcome.value is not None:
            best = max(best, outcome.value)
        if best > -math.inf:
            points.append((cost, best))
    return points
