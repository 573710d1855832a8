"""What a notebook loads in its cells, cut off at a moment: as if it had been executed then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any

import numpy as np
import pandas as pd

from cashup.clock import timeframe_millis
from cashup.markets.lake import Lake
from cashup.strategies.bars import Bars, to_index, to_times
from cashup.types import Millis

PANDAS = (
    "read_csv",
    "read_parquet",
    "read_feather",
    "read_json",
    "read_excel",
    "read_pickle",
    "read_table",
    "read_hdf",
)
LAKE = ("read", "read_series", "funding", "open_interest")
"""What gives rows out of the lake by time, beside `bars`."""

TIME_NAMES = {"timestamp", "time", "date", "datetime", "open_time", "ts", "published", "known"}


@contextmanager
def ending_at(moment: Millis) -> Iterator[list[str]]:
    """Within this block pandas' readers and the lake give nothing later than `moment`; yields what was read.

    Bars are given when they had closed then, rows of files when their time is `moment` or earlier.
    """
    read: list[str] = []
    with ExitStack() as stack:
        for name in PANDAS:
            _wrap(stack, pd, name, partial(_cut_frame, moment), read)
        _wrap(stack, Lake, "bars", partial(_cut_bars, moment), read)
        for name in LAKE:
            _wrap(stack, Lake, name, partial(_cut_frame, moment), read)
        yield read


def _wrap(stack: ExitStack, owner: Any, name: str, cut: Callable[..., Any], read: list[str]) -> None:
    original = getattr(owner, name)

    @wraps(original)
    def reader(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        shorter = cut(found, args)
        if len(shorter) != len(found):
            read.append(name)
        return shorter

    setattr(owner, name, reader)
    stack.callback(setattr, owner, name, original)


def _cut_frame(moment: Millis, frame: Any, args: tuple[Any, ...]) -> Any:
    if not isinstance(frame, pd.DataFrame | pd.Series):
        return frame
    times = _times(frame)
    if times is None or not len(times):
        return frame
    ends = to_times(times) + (_step(times) if _is_bars(frame) else 0)
    return frame[ends <= moment]


def _cut_bars(moment: Millis, bars: Bars, args: tuple[Any, ...]) -> Bars:
    return bars.rows(0, bars.position(moment - timeframe_millis(bars.timeframe) + 1))


def _is_bars(frame: pd.DataFrame | pd.Series) -> bool:
    return isinstance(frame, pd.DataFrame) and "close" in {str(name).lower() for name in frame.columns}


def _step(times: pd.DatetimeIndex) -> Millis:
    """The length of one bar: the shortest distance of two rows, ms."""
    return int(np.diff(np.unique(to_times(times))).min()) if times.nunique() > 1 else 0


def _times(frame: pd.DataFrame | pd.Series) -> pd.DatetimeIndex | None:
    """The rows' times: of a time index, of the first time column, or of a column that is named like one."""
    if isinstance(frame.index, pd.DatetimeIndex):
        return _utc(frame.index)
    if isinstance(frame, pd.Series):
        return None
    for _, column in frame.items():
        if pd.api.types.is_datetime64_any_dtype(column):
            return _utc(pd.DatetimeIndex(column))
    for name, column in frame.items():
        if str(name).lower() in TIME_NAMES and (times := _parse(column)) is not None:
            return times
    return None


def _parse(column: pd.Series[Any]) -> pd.DatetimeIndex | None:
    try:
        if pd.api.types.is_integer_dtype(column):
            millis = column.to_numpy() * (1 if column.max() > 10**11 else 1000)
            return to_index(millis.astype(np.int64))
        return pd.DatetimeIndex(pd.to_datetime(column, utc=True))
    except (ValueError, TypeError):
        return None  # the column only sounds like a time


def _utc(index: pd.DatetimeIndex) -> pd.DatetimeIndex:
    return index.tz_localize("UTC") if index.tz is None else index.tz_convert("UTC")
