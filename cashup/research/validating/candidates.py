"""Candidates: the parameter sets of a grid, each as the strategy that the notebook makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from cashup.errors import CashUpError, NotebookError, UsageError, WorkFailed
from cashup.strategies.notebook import load_strategy
from cashup.strategies.strategy import Strategy

Load = Callable[[Mapping[str, Any]], Strategy]
"""Makes the strategy of a parameter set: a notebook's loader, or a function of the author."""


@dataclass(frozen=True)
class Candidates:
    """Sets that made a strategy, in the order of the grid, and those that did not, with the reason."""

    sets: tuple[Mapping[str, Any], ...]
    strategies: tuple[Strategy, ...]
    invalid: tuple[tuple[Mapping[str, Any], str], ...]

    def __len__(self) -> int:
        return len(self.sets)

    @property
    def warmup(self) -> int:
        """The longest warm-up of all: the first bar at which every one of them can decide."""
        return max(strategy.warmup for strategy in self.strategies)


def sets_of(grid: Mapping[str, Iterable[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values of `grid`, the last name changing fastest; raises UsageError for none at all."""
    values = {name: list(options) for name, options in grid.items()}
    empty = [name for name, options in values.items() if not options]
    if not values or empty:
        raise UsageError(
            f"the range of {empty[0]} is empty"
            if empty
            else "name at least one parameter and its values to choose from"
        )
    return [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]


def loader_of(source: Load | Strategy | str | Path, params: Mapping[str, Any] | None = None) -> Load:
    """What makes strategies of `source`: a notebook's path, a strategy (with other `params`), or a function already."""
    fixed = dict(params or {})
    if isinstance(source, Strategy):
        return lambda chosen: source.with_params(fixed | dict(chosen))
    if callable(source):
        return lambda chosen: source(fixed | dict(chosen))
    path = Path(source)
    return lambda chosen: load_strategy(path, fixed | dict(chosen))


def load_candidates(load: Load, sets: Sequence[Mapping[str, Any]]) -> Candidates:
    """Load every set. One that the notebook refuses (`assert fast < slow`) is invalid, not an error.

    Raises the first refusal when all are refused, and UsageError when the sets trade different symbols or timeframes:
    those cannot share one walk.
    """
    loaded: list[tuple[Mapping[str, Any], Strategy]] = []
    refused: list[tuple[Mapping[str, Any], CashUpError]] = []
    for params in sets:
        try:
            loaded.append((params, load(params)))
        except (NotebookError, WorkFailed) as error:
            refused.append((params, error))
    if not loaded:
        raise refused[0][1]
    first = loaded[0][1]
    for params, strategy in loaded:
        if (strategy.symbols, strategy.timeframe) != (first.symbols, first.timeframe):
            raise UsageError(
                f"{params} trades {', '.join(strategy.symbols)} {strategy.timeframe}, the first set "
                f"{', '.join(first.symbols)} {first.timeframe}; walk one market at a time"
            )
    chosen, strategies = zip(*loaded, strict=True)
    return Candidates(tuple(chosen), tuple(strategies), tuple((params, str(error)) for params, error in refused))
