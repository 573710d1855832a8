"""What a strategy says about bars: its targets, and the levels that are functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from cashup.clock import isoformat
from cashup.research.checks.verdict import Evidence
from cashup.strategies.bars import Bars
from cashup.strategies.levels import distances
from cashup.strategies.strategy import Strategy

Values = NDArray[np.float64]
Outputs = Mapping[str, Values]
"""`target` and each level function -> float64, time x symbol."""

EXACT = 1e-9
"""Sums of floats may differ in their last digits with the length of a frame; a look ahead makes a larger difference."""


def outputs(strategy: Strategy, bars: Bars) -> Outputs:
    """The targets and level functions of `strategy` on `bars`; what the functions raise comes through."""
    levels = {name: grid for name, grid in distances(strategy, bars).items() if callable(getattr(strategy, name))}
    return {"target": strategy.target_values(bars), **levels}


def differing(full: Values, other: Values, tolerance: float = EXACT) -> NDArray[np.bool_]:
    """True where two outputs of the same shape are not the same; NaN equals NaN."""
    both = np.isnan(full) & np.isnan(other)
    with np.errstate(invalid="ignore"):
        near = np.abs(full - other) <= tolerance * np.maximum(1.0, np.abs(full))
    differs: NDArray[np.bool_] = ~(near | both)
    return differs


def differences(
    full: Outputs,
    other: Outputs,
    bars: Bars,
    *,
    first: int,
    stop: int,
    cause: str,
    most: int = 1,
    history: bool = True,
    tolerance: float = EXACT,
) -> Iterator[Evidence]:
    """Evidence of where `other` differs from `full` in rows `first` to `stop`: the latest `most` rows of each."""
    for name, values in full.items():
        rows, columns = np.nonzero(differing(values[first:stop], other[name][first:stop], tolerance))
        for row, column in list(zip(rows + first, columns, strict=True))[-most:]:
            yield Evidence(
                cause=cause,
                bar=isoformat(int(bars.times[row])),
                symbol=bars.symbols[column],
                full=number(values[row, column]),
                truncated=number(other[name][row, column]),
                output=name,
                history=isoformat(int(bars.times[stop - 1])) if history else None,
            )


def number(value: float) -> float | None:
    """A float for JSON: None for NaN and infinity."""
    return float(value) if np.isfinite(value) else None


def decision_rows(targets: Values, first: int) -> NDArray[np.int64]:
    """Rows from `first` on whose target differs from the row before."""
    changed = differing(targets[1:], targets[:-1]).any(axis=1)
    rows: NDArray[np.int64] = np.flatnonzero(changed) + 1
    return rows[rows >= first]
