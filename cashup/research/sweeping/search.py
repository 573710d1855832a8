"""How a sweep chooses its sets: all of them, by chance, or by what earlier ones gave.

A search goes in rounds. What a round tries depends on the results of the rounds before it and on the seed alone, never
on which process was faster; so a search that is resumed asks for the same sets again, whose results are known.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from cashup.errors import UsageError
from cashup.research.sweeping.condition import Condition
from cashup.research.sweeping.judge import OK, Trial
from cashup.research.sweeping.objective import Objective
from cashup.research.sweeping.space import Between, Space

METHODS = ("grid", "random", "tpe", "nsga2")

Numbered = tuple[int, dict[str, Any]]

ROUND = 8
"""Sets that an Optuna search asks for at once: enough for the cores of a desk, few enough to learn from."""

GIVE_UP = 2_000
"""Draws in a row that bring nothing new: a discrete space is then taken as tried."""


class Search(Protocol):
    """Rounds of numbered sets; `total` is how many sets at most."""

    total: int

    def rounds(self) -> Iterator[Iterator[Numbered]]:
        """The next sets, when every trial of the round before was told."""

    def tell(self, trials: Sequence[Trial]) -> None:
        """What a round gave, by number."""


class Listed:
    """Sets that are known beforehand, in one round: a grid, or draws by chance."""

    def __init__(self, sets: Iterator[dict[str, Any]], total: int) -> None:
        self.total = total
        self._sets = sets

    def rounds(self) -> Iterator[Iterator[Numbered]]:
        """One round with everything."""
        yield enumerate(self._sets)

    def tell(self, trials: Sequence[Trial]) -> None:
        """Nothing is learnt from it."""


def search(
    space: Space,
    method: str,
    *,
    trials: int | None,
    seed: int,
    objectives: Sequence[Objective],
    conditions: Sequence[Condition],
) -> Search:
    """The search of that name. Conditions on parameters alone leave sets out; the others are for the samplers."""
    if method not in METHODS:
        raise UsageError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
    if trials is not None and trials < 1:
        raise UsageError(f"a search makes at least one trial; it is {trials}")
    before = [condition for condition in conditions if condition.names <= set(space.ranges)]
    if method == "grid":
        count = len(space) if not before else sum(1 for _ in _allowed(space.grid(), before))
        if not count:
            raise UsageError("no set of the grid meets the constraints; take wider ranges")
        total = count if trials is None else min(count, trials)
        return Listed(islice(_allowed(space.grid(), before), total), total)
    total = 100 if trials is None else trials
    if method == "random":
        return Listed(islice(_new(_allowed(space.draws(seed), before)), total), total)
    return Sampled(space, method, total, seed, objectives, conditions)


def _allowed(sets: Iterator[dict[str, Any]], conditions: Sequence[Condition]) -> Iterator[dict[str, Any]]:
    refused = 0
    for params in sets:
        if all(condition.holds(params) for condition in conditions):
            refused = 0
            yield params
        else:
            refused += 1
            if refused > 100 * GIVE_UP:
                return


def _new(sets: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every set once."""
    seen: set[str] = set()
    repeated = 0
    for params in sets:
        key = json.dumps(params, default=str)
        repeated = repeated + 1 if key in seen else 0
        if repeated > GIVE_UP:
            return
        if not repeated:
            seen.add(key)
            yield params


class Sampled:
    """Optuna's samplers, asked for a round at a time. An invalid or failed set teaches them nothing."""

    def __init__(
        self,
        space: Space,
        method: str,
        total: int,
        seed: int,
        objectives: Sequence[Objective],
        conditions: Sequence[Condition],
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.total = total
        self._ranges = space.ranges
        self._objectives = objectives
        self._conditions = conditions
        self._asked: dict[int, Any] = {}
        self._study = optuna.create_study(
            sampler=_sampler(method, seed),
            directions=["maximize" if wanted.direction > 0 else "minimize" for wanted in objectives],
        )

    def rounds(self) -> Iterator[Iterator[Numbered]]:
        """Rounds of ROUND sets; those that break a constraint on parameters are left out, and told so at once."""
        done = 0
        while done < self.total:
            asked = [self._study.ask() for _ in range(min(ROUND, self.total - done))]
            numbered = [(trial.number, self._params(trial)) for trial in asked]
            self._asked = {trial.number: trial for trial in asked}
            done += len(asked)
            yield iter([(number, params) for number, params in numbered if self._may_be(number, params)])

    def tell(self, trials: Sequence[Trial]) -> None:
        """Tell the sampler, in the order of the numbers."""
        from optuna.trial import TrialState

        for trial in sorted(trials, key=lambda one: one.number):
            asked = self._asked.pop(trial.number)
            found = [trial.metrics.get(wanted.figure) for wanted in self._objectives]
            values = [value for value in found if value is not None]
            if trial.status != OK or len(values) < len(found):
                self._study.tell(asked, state=TrialState.FAIL)
                continue
            known = {**trial.params, **trial.metrics}
            for condition in self._conditions:
                asked.set_constraint(condition.text, condition.excess(known))
            self._study.tell(asked, values)

    def _may_be(self, number: int, params: dict[str, Any]) -> bool:
        from optuna.trial import TrialState

        before = [condition for condition in self._conditions if condition.names <= set(self._ranges)]
        allowed = all(condition.holds(params) for condition in before)
        if not allowed:
            self._study.tell(self._asked.pop(number), state=TrialState.FAIL)
        return allowed

    def _params(self, trial: Any) -> dict[str, Any]:
        return {name: _suggest(trial, name, wanted) for name, wanted in self._ranges.items()}


def _suggest(trial: Any, name: str, wanted: Any) -> Any:
    if isinstance(wanted, Between):
        if wanted.whole:
            return trial.suggest_int(name, int(wanted.low), int(wanted.high), log=wanted.log)
        return trial.suggest_float(name, wanted.low, wanted.high, log=wanted.log)
    # Values in order are a scale: by position, so that the sampler knows which ones are neighbours.
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in wanted):
        return wanted[trial.suggest_int(name, 0, len(wanted) - 1)]
    return wanted[trial.suggest_categorical(name, list(range(len(wanted))))]


def _sampler(method: str, seed: int) -> Any:
    import warnings

    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if method == "tpe":
            return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=4 * ROUND)
