"""What is remarkable about bars without being wrong: outliers, wicks, silence, frozen prices, an open last bar."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.clock import isoformat, timeframe_millis
from cashup.markets.health import Problem
from cashup.strategies.bars import FIELDS, to_times
from cashup.types import Millis

SPREAD = 201
"""Bars over which the usual size of a move is taken, half of them before and half after."""

LIMIT = 15.0
"""A move of so many usual sizes is an outlier."""

SILENT = 3
FROZEN = 10
"""So many bars in a row without volume, or at one single price, are remarked."""

_NORMAL = 1.4826  # a median absolute deviation as the standard deviation of a normal distribution


def remarks(frame: pd.DataFrame, timeframe: str, now: Millis) -> tuple[Problem, ...]:
    """Look at sound bars; `now` in ms tells whether the last one can be closed yet."""
    times = to_times(frame.index)
    step = timeframe_millis(timeframe)
    silent = runs(frame["volume"].to_numpy() == 0, SILENT)
    found = [
        _remark(times, outliers(frame), "outlier", f"move by more than {LIMIT:g} times what is usual around them"),
        _remark(times, wicks(frame), "wick", f"have a wick of more than {LIMIT:g} usual moves"),
        _remark(times, silent, "zero_volume", f"stand in runs of {SILENT} or more without volume"),
        _remark(times, runs(_still(frame), FROZEN), "frozen", f"stand in runs of {FROZEN} or more at one price"),
        _remark(times, times + step > now, "open_bar", "are not closed yet, so their figures will change"),
    ]
    return tuple(remark for remark in found if remark)


def outliers(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Bars whose log return is larger than LIMIT times the rolling median absolute deviation (scaled to a sigma)."""
    move = _moves(frame)
    return move > LIMIT * _usual(move)


def wicks(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Bars whose high or low lies further from their body (as a log) than LIMIT usual moves."""
    opened, high, low, close = (frame[name].to_numpy() for name in FIELDS[:4])
    wick = np.maximum(np.log(high / np.maximum(opened, close)), np.log(np.minimum(opened, close) / low))
    found: NDArray[np.bool_] = wick > LIMIT * _usual(_moves(frame))
    return found


def runs(flags: NDArray[np.bool_], least: int) -> NDArray[np.bool_]:
    """The flags that stand in unbroken runs of `least` or more."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    kept = np.zeros(len(flags), dtype=bool)
    for start, stop in edges.reshape(-1, 2):
        kept[start:stop] = stop - start >= least
    return kept


def _moves(frame: pd.DataFrame) -> NDArray[np.float64]:
    close = np.log(frame["close"].to_numpy())
    moves: NDArray[np.float64] = np.abs(np.diff(close, prepend=close[:1]))
    return moves


def _usual(move: NDArray[np.float64]) -> NDArray[np.float64]:
    """The usual size of a move around each bar; where prices stand still, that of the whole series."""
    moving = move[move > 0]
    if not len(moving):
        return np.full(len(move), np.inf)
    around = pd.Series(move).rolling(SPREAD, center=True, min_periods=1).median().to_numpy()
    usual: NDArray[np.float64] = _NORMAL * np.maximum(around, float(np.median(moving)) / 4)
    return usual


def _still(frame: pd.DataFrame) -> NDArray[np.bool_]:
    flat: NDArray[np.bool_] = (frame["high"] == frame["low"]).to_numpy() & (_moves(frame) == 0)
    return flat


def _remark(times: NDArray[np.int64], flags: NDArray[np.bool_], code: str, words: str) -> Problem | None:
    count = int(flags.sum())
    if not count:
        return None
    first = int(times[int(flags.argmax())])
    return Problem(code, count, first, f"{count} of {len(times)} bars {words}, the first at {isoformat(first)}")
