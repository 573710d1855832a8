"""Bars: what a strategy sees of the market."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from hashlib import sha256

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.errors import DataError
from cashup.strategies.memo import Memo
from cashup.types import Millis

FIELDS = ("open", "high", "low", "close", "volume")
"""The order of the fields in `Bars.values`."""


class Bars:
    """Closed OHLCV bars of one or more symbols on one timeframe.

    `open high low close volume` are DataFrames time x symbol, float64, indexed by the bars' OPEN time: a tz-aware UTC
    `DatetimeIndex` named `timestamp`, unit ms, ascending. A time at which one symbol has no bar is not in the frame.
    The data are read-only; a computation on a frame gives a new frame. Frames are built when they are first asked for.
    """

    def __init__(
        self,
        times: NDArray[np.int64],
        symbols: Sequence[str],
        timeframe: str,
        values: NDArray[np.float64],
        *,
        version: str | None = None,
        filled: int = 0,
    ) -> None:
        """`times`: n open times in ms; `values`: float64 of shape (5, n, symbols) in the order of FIELDS; no copy.

        `version`: the data version, when the lake knows it; `filled`: how many of the bars were made up to close gaps.
        """
        if values.shape != (len(FIELDS), len(times), len(symbols)):
            raise ValueError(f"values of shape {values.shape} do not fit {len(times)} times x {len(symbols)} symbols")
        self.symbols = tuple(symbols)
        self.timeframe = timeframe
        self.times = times
        self.values = values.view()
        self.values.flags.writeable = False
        self.filled = filled
        if version is not None:
            self.__dict__["version"] = version  # what the property below would otherwise find out

    @classmethod
    def join(cls, frames: Mapping[str, pd.DataFrame], timeframe: str) -> Bars:
        """Bars from one frame per symbol (columns `open high low close volume`), inner-joined on time."""
        indexes = [to_times(frame.index) for frame in frames.values()]
        times = indexes[0]
        for other in indexes[1:]:
            times = np.intersect1d(times, other, assume_unique=True)
        values = np.empty((len(FIELDS), len(times), len(frames)))
        for column, (frame, index) in enumerate(zip(frames.values(), indexes, strict=True)):
            rows = slice(None) if len(index) == len(times) else np.searchsorted(index, times)
            for field, name in enumerate(FIELDS):
                values[field, :, column] = frame[name].to_numpy(dtype=np.float64)[rows]
        return cls(times, tuple(frames), timeframe, values)

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        span = f"{self.index[0]:%Y-%m-%d %H:%M} to {self.index[-1]:%Y-%m-%d %H:%M} UTC" if len(self) else "empty"
        return f"<Bars {', '.join(self.symbols)} {self.timeframe}, {len(self)} bars, {span}>"

    @cached_property
    def index(self) -> pd.DatetimeIndex:
        """The bars' open times."""
        return to_index(self.times)

    @cached_property
    def open(self) -> pd.DataFrame:
        """Price of the first trade in each bar, time x symbol."""
        return self._frame(0)

    @cached_property
    def high(self) -> pd.DataFrame:
        """Highest price in each bar, time x symbol."""
        return self._frame(1)

    @cached_property
    def low(self) -> pd.DataFrame:
        """Lowest price in each bar, time x symbol."""
        return self._frame(2)

    @cached_property
    def close(self) -> pd.DataFrame:
        """Price of the last trade in each bar, time x symbol."""
        return self._frame(3)

    @cached_property
    def volume(self) -> pd.DataFrame:
        """Traded volume in base currency, time x symbol."""
        return self._frame(4)

    @cached_property
    def version(self) -> str:
        """A hash of symbols, timeframe, times and values: another one as soon as one number differs."""
        digest = sha256(f"{self.timeframe}|{'|'.join(self.symbols)}|{len(self)}|".encode())
        digest.update(np.ascontiguousarray(self.times, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(self.values, dtype="<f8").tobytes())
        return digest.hexdigest()

    @cached_property
    def memo(self) -> Memo:
        """What was computed from these bars once; `cu.indicator` keeps its results here."""
        return Memo()

    def rows(self, start: int, stop: int) -> Bars:
        """Bars `start` to `stop` (not included) by position, on the same memory."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start} to {stop} lie outside of {len(self)} bars")
        return Bars(self.times[start:stop], self.symbols, self.timeframe, self.values[:, start:stop])

    def position(self, moment: Millis) -> int:
        """The position of the first bar that opens at `moment` or later; `len(bars)` when there is none."""
        return int(np.searchsorted(self.times, moment))

    def _frame(self, field: int) -> pd.DataFrame:
        return pd.DataFrame(self.values[field], index=self.index, columns=_columns(self.symbols), copy=False)


def to_index(times: NDArray[np.int64]) -> pd.DatetimeIndex:
    """Open times in ms as the index every CashUp frame has."""
    return pd.DatetimeIndex(times.view("M8[ms]"), tz="UTC", name="timestamp")


def to_times(index: pd.Index) -> NDArray[np.int64]:
    """A tz-aware index as int64 ms since the epoch; raises DataError for anything else."""
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise DataError("bars need a DatetimeIndex with a time zone; localize it to UTC first")
    return index.as_unit("ms").asi8


@lru_cache(maxsize=256)
def _columns(symbols: tuple[str, ...]) -> pd.Index:
    return pd.Index(symbols, name="symbol")
