"""Data health: what is wrong with a frame of bars, and what is only remarkable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.clock import isoformat, timeframe_millis
from cashup.errors import DataError
from cashup.strategies.bars import FIELDS, to_times
from cashup.strategies.timeframes import grid_offset
from cashup.types import Millis


@dataclass(frozen=True, slots=True)
class Gap:
    """Bars that are missing between two that are there. `after` and `before` are open times in ms."""

    after: Millis
    before: Millis
    missing: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of defect: its code, how many bars have it, the first of them, and a sentence."""

    code: str
    count: int
    first: Millis
    message: str


@dataclass(frozen=True, slots=True)
class Health:
    """The findings about one series. Gaps are facts about a venue; problems make a series unusable."""

    bars: int
    gaps: tuple[Gap, ...]
    problems: tuple[Problem, ...]

    @property
    def sound(self) -> bool:
        """True when nothing is wrong with the bars that are there."""
        return not self.problems


def check_health(frame: pd.DataFrame, timeframe: str) -> Health:
    """Look at every bar of `frame` (columns FIELDS, tz-aware index of open times)."""
    step = timeframe_millis(timeframe)
    times = to_times(frame.index)
    values = {name: frame[name].to_numpy(dtype=np.float64) for name in FIELDS}
    found = [
        _problem(times, ~np.all([np.isfinite(v) for v in values.values()], axis=0), "not_a_number", "hold no number"),
        _problem(times, _repeated(times), "duplicate", "share their time with another bar"),
        _problem(times, _backwards(times), "order", "open before the bar that precedes them"),
        _problem(times, _impossible(values), "ohlc", "have a high below, or a low above, their open or close"),
        _problem(times, _negative(values), "price", "have a price of zero or less, or a volume below zero"),
        _problem(times, times % step != grid_offset(step), "time_zone", _GRID.format(timeframe)),
    ]
    return Health(len(times), _gaps(times, step), tuple(problem for problem in found if problem))


def require_sound(frame: pd.DataFrame, timeframe: str, what: str) -> None:
    """Raise DataError, naming the first defect, when `frame` must not be stored or computed with."""
    missing = [name for name in FIELDS if name not in frame.columns]
    if missing:
        raise DataError(f"{what} lacks the column {missing[0]}; bars have {', '.join(FIELDS)}")
    if frame.empty:
        raise DataError(f"{what} holds no bars")
    problems = check_health(frame, timeframe).problems
    if problems:
        raise DataError(f"{what} cannot be used: {'; '.join(problem.message for problem in problems)}")


def bad_rows(frame: pd.DataFrame, timeframe: str) -> NDArray[np.bool_]:
    """The bars that cannot be: without a number, impossible in their prices, or off the grid of the timeframe."""
    step = timeframe_millis(timeframe)
    values = {name: frame[name].to_numpy(dtype=np.float64) for name in FIELDS}
    number = np.all([np.isfinite(v) for v in values.values()], axis=0)
    off_grid = to_times(frame.index) % step != grid_offset(step)
    bad: NDArray[np.bool_] = ~number | _impossible(values) | _negative(values) | off_grid
    return bad


def sound_rows(rows: NDArray[np.float64], follows: NDArray[np.bool_], timeframe: str) -> bool:
    """True when every row (`[time in ms, open, high, low, close, volume]`) of many series is sound.

    `follows` is True where a row belongs to the same series as the row before, so its time must lie behind it.
    """
    step = timeframe_millis(timeframe)
    if not bool(np.isfinite(rows).all()):
        return False
    times = rows[:, 0].astype(np.int64)
    values = dict(zip(FIELDS, rows[:, 1:].T, strict=True))
    forward = np.diff(times, prepend=times[:1] - 1) > 0
    on_grid = times % step == grid_offset(step)
    bad = _impossible(values) | _negative(values) | ~on_grid | (follows & ~forward)
    return not bool(bad.any())


_GRID = "do not open on the {0} grid of UTC (another time zone, or another timeframe?)"


def _problem(times: NDArray[np.int64], bad: NDArray[np.bool_], code: str, words: str) -> Problem | None:
    count = int(bad.sum())
    if count == 0:
        return None
    first = int(times[int(bad.argmax())])
    return Problem(code, count, first, f"{count} of {len(times)} bars {words}, the first at {isoformat(first)}")


def _repeated(times: NDArray[np.int64]) -> NDArray[np.bool_]:
    return pd.Index(times).duplicated()


def _backwards(times: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.diff(times, prepend=times[:1]) < 0


def _impossible(values: dict[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
    top = np.maximum(values["open"], values["close"])
    bottom = np.minimum(values["open"], values["close"])
    bad: NDArray[np.bool_] = (values["high"] < top) | (values["low"] > bottom)
    return bad


def _negative(values: dict[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
    bad: NDArray[np.bool_] = np.any([values[name] <= 0 for name in FIELDS[:4]], axis=0) | (values["volume"] < 0)
    return bad


def _gaps(times: NDArray[np.int64], step: Millis) -> tuple[Gap, ...]:
    ordered = np.unique(times)
    jumps = np.flatnonzero(np.diff(ordered) > step)
    return tuple(
        Gap(int(ordered[at]), int(ordered[at + 1]), int((ordered[at + 1] - ordered[at]) // step) - 1) for at in jumps
    )
