"""Series of the author's own, joined to bars by the time at which each row was known."""

from __future__ import annotations

from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.clock import timeframe_millis
from cashup.errors import NotebookError, UsageError
from cashup.strategies.timeframes import Times, known_rows

Table = pd.DataFrame | pd.Series


def join_known(
    data: Table, closes: Times, index: pd.DatetimeIndex, *, at: str | None = None, delay: str | None = None
) -> Table:
    """For each bar (its close in ms, its label in `index`) the newest row of `data` that was known at its close.

    The index of `data` says what a row is about, the column `at` when it became known; without `at` that is the index.
    `delay` is added to it. Of the rows that were known, the one about the latest time counts, and of two about the same
    time (a revision) the one that became known last. Raises NotebookError for times without a zone.
    """
    events = _times(data.index, "the index")
    known = events if at is None else _times(_column(data, at), f"the column {at!r}")
    if delay is not None:
        known = known + _delay(delay)
    told = np.flatnonzero((known < _NEVER) & (events < _NEVER))
    order = told[np.lexsort((events[told], known[told]))]
    rank = np.empty(len(events), dtype=np.int64)
    by_event = np.lexsort((known, events))
    rank[by_event] = np.arange(len(events))
    newest = by_event[np.maximum.accumulate(rank[order])] if len(order) else order
    positions = known_rows(known[order], closes)
    rows = np.where(positions >= 0, newest[positions], -1) if len(order) else np.full(len(closes), -1)
    return take_rows(data if at is None else cast(pd.DataFrame, data).drop(columns=at), rows, index)


def take_rows(data: Table, rows: NDArray[np.intp], index: pd.DatetimeIndex) -> Table:
    """The rows of `data` at these positions, labelled by `index`; -1 is a row of NaN. Numbers become float64."""
    dtypes = {data.dtype} if isinstance(data, pd.Series) else set(data.dtypes)
    if not all(isinstance(dtype, np.dtype) and dtype.kind in "fiub" for dtype in dtypes):
        joined = data.reset_index(drop=True).reindex(pd.Index(rows))
        joined.index = index
        return joined
    values = data.to_numpy(dtype=np.float64)
    values = np.concatenate([values, np.full((1, *values.shape[1:]), np.nan)])[rows]  # -1 is the row at the end
    if isinstance(data, pd.Series):
        return pd.Series(values, index=index, name=data.name, copy=False)
    return pd.DataFrame(values, index=index, columns=data.columns, copy=False)


_NEVER = 2**62
"""Later than every close, with room for a delay: what has no time."""


def _column(data: Table, at: str) -> pd.Index:
    if not isinstance(data, pd.DataFrame) or at not in data.columns:
        raise NotebookError(f"bars.known: the data have no column {at!r} that says when a row was known")
    index: pd.Index = pd.Index(data[at])
    return index


def _times(index: pd.Index, where: str) -> Times:
    """As ms, rounded up, because what was known a moment after a close was not known at it; NaT is never."""
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise NotebookError(f"bars.known: {where} needs times with a time zone; use .tz_localize('UTC') first")
    micros = index.as_unit("us").asi8
    return np.where(index.isna(), _NEVER, -(-micros // 1000))


def _delay(delay: str) -> int:
    try:
        return timeframe_millis(delay)
    except UsageError:
        raise NotebookError(f"bars.known: delay is a duration such as '1h' or '2d'; it is {delay!r}") from None
