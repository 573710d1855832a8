"""Bars of a longer timeframe from bars of a shorter one, and back: pure functions on times and values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cashup.types import Millis

Times = NDArray[np.int64]
Values = NDArray[np.float64]

_WEEK = 604_800_000
_MONDAY = 4 * 86_400_000  # the epoch was a Thursday, and weeks open on Monday


def grid_offset(step: Millis) -> Millis:
    """Where in ms after the epoch the first bar of length `step` opens: 0, or a Monday for weeks."""
    return _MONDAY % step if step % _WEEK == 0 else 0


def grid_floor(times: Times, step: Millis) -> Times:
    """The newest time of the grid of `step` at or before each of `times`."""
    offset = grid_offset(step)
    floored: Times = (times - offset) // step * step + offset
    return floored


def longer_bars(times: Times, values: Values, step: Millis, length: Millis) -> tuple[Times, Values]:
    """Bars of `length` ms, labelled by their open times, from bars of `step` ms (values: 5 x n x symbols, as in Bars).

    Only bars whose first and last moment lie within the given ones are made: the ends that are cut off are left out, so
    the last one closed at or before the last given bar's close, and a part of the bars gives the same bars as the
    whole. NaN (a symbol without a bar) is skipped; a symbol without any bar inside has NaN.
    """
    opened = grid_floor(times, length)
    complete = (opened >= times[0]) & (opened + length <= times[-1] + step) if len(times) else np.zeros(0, dtype=bool)
    chosen = np.flatnonzero(complete)
    if not len(chosen):
        return times[:0], values[:, :0]
    rows = slice(int(chosen[0]), int(chosen[-1]) + 1)  # opens ascend: what is complete lies in one piece
    opened, values = opened[rows], values[:, rows]
    firsts = np.flatnonzero(np.diff(opened, prepend=opened[0] - 1))
    made = np.empty((len(values), len(firsts), values.shape[2]))
    for symbol in range(values.shape[2]):
        # Column by column from contiguous memory: sums must not depend on how the bars lie in it.
        series = np.ascontiguousarray(values[:, :, symbol])
        made[:, :, symbol] = _summarise(series, firsts)
    return opened[firsts], made


def _summarise(series: Values, firsts: NDArray[np.intp]) -> Values:
    """`series` (5 x n) as one bar for each group of rows; `firsts` are the groups' first rows."""
    n = series.shape[1]
    missing = np.isnan(series[3])
    rows = np.arange(n)
    if not missing.any():
        first, last = firsts, np.r_[firsts[1:], n] - 1
        volume = np.add.reduceat(series[4], firsts)
        return np.stack(
            [
                series[0, first],
                np.maximum.reduceat(series[1], firsts),
                np.minimum.reduceat(series[2], firsts),
                series[3, last],
                volume,
            ]
        )
    first = np.minimum.reduceat(np.where(missing, n, rows), firsts)
    last = np.maximum.reduceat(np.where(missing, -1, rows), firsts)
    empty = last < 0
    made = np.stack(
        [
            series[0, np.minimum(first, n - 1)],
            np.fmax.reduceat(series[1], firsts),
            np.fmin.reduceat(series[2], firsts),
            series[3, last],
            np.add.reduceat(np.where(missing, 0.0, series[4]), firsts),
        ]
    )
    made[:, empty] = np.nan
    return made


def known_rows(known: Times, closes: Times) -> NDArray[np.intp]:
    """For each close time (ascending) the position of the last of `known` (ascending) at or before it; -1 for none."""
    # Few rows are looked up among many bars, not the other way round: twenty times as fast on a year of minutes.
    starts = np.searchsorted(closes, known)
    return np.repeat(np.arange(-1, len(known)), np.diff(starts, prepend=0, append=len(closes)))
