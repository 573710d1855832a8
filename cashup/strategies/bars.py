"""Bars: what a strategy sees of the market."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache, partial
from hashlib import sha256
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.clock import timeframe_millis
from cashup.errors import DataError, NotebookError, UsageError
from cashup.strategies.card import card
from cashup.strategies.known import Table, join_known, take_rows
from cashup.strategies.memo import Memo, read_only
from cashup.strategies.timeframes import Times, known_rows, longer_bars
from cashup.types import Millis

FIELDS = ("open", "high", "low", "close", "volume")
"""The order of the fields in `Bars.values`."""

BESIDE = ("funding", "open_interest")
"""What a strategy may see beside the bars of perpetuals, when it says so: `cu.Strategy(..., sees=["funding"])`."""


class Rule(Protocol):
    """What decides which symbols may be held: `cu.Universe`."""

    def members(self, bars: Bars) -> NDArray[np.bool_]:
        """Per bar and symbol, n x symbols."""
        ...


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
        watched: Bars | None = None,
        beside: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> None:
        """`times`: n open times in ms; `values`: float64 of shape (5, n, symbols) in the order of FIELDS; no copy.

        `version`: the data version, when the lake knows it; `filled`: how many of the bars were made up to close gaps.
        `watched`: bars of other symbols at the same times; `beside`: of BESIDE what there is, each n x symbols: the
        newest value that was known at each bar's close.
        """
        if values.shape != (len(FIELDS), len(times), len(symbols)):
            raise ValueError(f"values of shape {values.shape} do not fit {len(times)} times x {len(symbols)} symbols")
        self.symbols = tuple(symbols)
        self.timeframe = timeframe
        self.times = times
        self.values = values.view()
        self.values.flags.writeable = False
        self.filled = filled
        self.watched = watched
        self.rule: Rule | None = None
        self.beside = {name: read_only(part) for name, part in (beside or {}).items()}
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

    def __reduce__(self) -> tuple[Any, ...]:
        # What was computed from the bars stays here: other processes get the numbers alone.
        made = partial(
            Bars,
            version=self.__dict__.get("version"),
            filled=self.filled,
            watched=self.watched,
            beside=self.beside,
        )
        return made, (self.times, self.symbols, self.timeframe, self.values)

    def __repr__(self) -> str:
        span = f"{self.index[0]:%Y-%m-%d %H:%M} to {self.index[-1]:%Y-%m-%d %H:%M} UTC" if len(self) else "empty"
        return f"<Bars {', '.join(self.symbols)} {self.timeframe}, {len(self)} bars, {span}>"

    def _repr_html_(self) -> str:
        there = ~np.isnan(self.values[3])
        rows = [
            (symbol, *_extent(self.times[there[:, column]], self.step)) for column, symbol in enumerate(self.symbols)
        ]
        watched = f"watched: {', '.join(self.watched.symbols)}" if self.watched is not None else ""
        title = f"Bars of {self.timeframe}, times in UTC"
        return card(title, ("symbol", "first bar", "last bar", "bars", "missing between"), rows, watched)

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

    @property
    def watch(self) -> Bars:
        """Bars of the symbols that the strategy watches and does not trade, at the same times.

        Raises NotebookError when there are none.
        """
        if self.watched is None:
            raise NotebookError("these bars hold no watched symbols; name them: cu.Strategy(..., watch=['BTC/USDT'])")
        return self.watched

    @cached_property
    def funding(self) -> pd.DataFrame:
        """The newest funding rate that was known at each bar's close (a ratio; longs pay when it is above 0).

        Time x symbol; NaN before the first one and for spot symbols. Raises NotebookError when the strategy does not
        say that it sees it.
        """
        return self._beside("funding")

    @cached_property
    def open_interest(self) -> pd.DataFrame:
        """The newest open interest in base currency that was known at each bar's close; time x symbol, like funding."""
        return self._beside("open_interest")

    @cached_property
    def universe(self) -> pd.DataFrame:
        """True where a symbol is in the strategy's universe, time x symbol; raises NotebookError when it has none."""
        if self.rule is None:
            raise NotebookError(
                "the strategy has no universe; give it one: cu.Strategy(..., universe=cu.Universe(top=10))"
            )
        return self.frame(read_only(self.rule.members(self)))

    def under(self, rule: Rule) -> Bars:
        """The same bars with the universe of `rule`; the same object for an equal rule."""
        found: Bars = self.memo.get(("under", rule), lambda: self._with_rule(rule))
        return found

    @property
    def step(self) -> Millis:
        """The length of one bar in ms."""
        return timeframe_millis(self.timeframe)

    @property
    def closes(self) -> Times:
        """The time in ms at which each bar closed, and at which it was known."""
        return self.times + self.step

    def at(self, timeframe: str) -> HigherBars:
        """The same symbols on a higher timeframe: bars that had closed, each labelled by its open time.

        `daily = bars.at("1d")` has `daily.close` and so on with times of its own; `daily.align(frame)` brings what was
        computed from them back to these bars, without looking ahead. A first day that is not covered from its first
        moment is left out. Raises NotebookError when `timeframe` is no multiple of the bars' own.
        """
        made: HigherBars = self.memo.get(("at", timeframe), lambda: self._make_higher(timeframe))
        return made

    def align(self, frame: Table, timeframe: str) -> Table:
        """`frame`, labelled by the open times of bars of `timeframe`, at these bars: the newest row that had closed.

        NaN where none had. Series or DataFrame in, the same out, with the index of `bars.close`.
        """
        known = to_times(frame.index) + _higher(self.timeframe, timeframe)
        if bool((np.diff(known) <= 0).any()):
            raise NotebookError("the frame to align must ascend in time, each time once; sort it first")
        rows = known_rows(known, self.closes)
        return take_rows(frame, rows, self.index)

    def known(self, data: Table, at: str | None = None, *, delay: str | None = None) -> Table:
        """A series of your own at these bars: for each bar the newest row that was known at its close.

        The index of `data` (tz-aware) says what a row is about, the column `at` when it became known; without `at` that
        is the index. `delay` (`"1h"`, `"2d"`) is added to it. Of several known rows the one about the latest time
        counts, and of two about the same time the later one known. NaN where nothing was known yet; the result has
        the columns of `data` (without `at`) and the index of `bars.close`. Raises NotebookError for times without a
        zone.
        """
        return join_known(data, self.closes, self.index, at=at, delay=delay)

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

    @cached_property
    def whole(self) -> bool:
        """Whether every symbol has a bar at every time."""
        return not bool(np.isnan(self.values[3]).any())

    def rows(self, start: int, stop: int) -> Bars:
        """Bars `start` to `stop` (not included) by position, on the same memory."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start} to {stop} lie outside of {len(self)} bars")
        return Bars(
            self.times[start:stop],
            self.symbols,
            self.timeframe,
            self.values[:, start:stop],
            watched=None if self.watched is None else self.watched.rows(start, stop),
            beside={name: values[start:stop] for name, values in self.beside.items()},
        )

    def named(self, version: str) -> Bars:
        """The same bars under another data version, on the same memory."""
        return Bars(
            self.times,
            self.symbols,
            self.timeframe,
            self.values,
            version=version,
            filled=self.filled,
            watched=self.watched,
            beside=self.beside,
        )

    def split(self, symbols: Sequence[str]) -> Bars:
        """The first of these bars' symbols, `symbols`, with the others as the watched ones; on the same memory."""
        count = len(symbols)
        if count == len(self.symbols):
            return self
        return Bars(
            self.times,
            self.symbols[:count],
            self.timeframe,
            self.values[:, :, :count],
            version=self.__dict__.get("version"),  # of all of them together; not worth a hash where nobody asks
            filled=self.filled,
            watched=Bars(
                self.times,
                self.symbols[count:],
                self.timeframe,
                self.values[:, :, count:],
                beside={name: values[:, count:] for name, values in self.beside.items()},
            ),
            beside={name: values[:, :count] for name, values in self.beside.items()},
        )

    def position(self, moment: Millis) -> int:
        """The position of the first bar that opens at `moment` or later; `len(bars)` when there is none."""
        return int(np.searchsorted(self.times, moment))

    def _frame(self, field: int) -> pd.DataFrame:
        return self.frame(self.values[field])

    def frame(self, values: NDArray[Any]) -> pd.DataFrame:
        """`values`, n x symbols, as a frame like `close`; no copy."""
        return pd.DataFrame(values, index=self.index, columns=_columns(self.symbols), copy=False)

    def _beside(self, name: str) -> pd.DataFrame:
        if name not in self.beside:
            raise NotebookError(
                f"these bars carry no {name}; say that the target sees it: cu.Strategy(..., sees=[{name!r}])"
            )
        return self.frame(self.beside[name])

    def _with_rule(self, rule: Rule) -> Bars:
        bars = Bars(self.times, self.symbols, self.timeframe, self.values, watched=self.watched, beside=self.beside)
        bars.rule = rule
        return bars

    def _make_higher(self, timeframe: str) -> HigherBars:
        times, values = longer_bars(self.times, self.values, self.step, _higher(self.timeframe, timeframe))
        watched = None if self.watched is None else self.watched.at(timeframe)
        return HigherBars(self, times, timeframe, values, watched)


class HigherBars(Bars):
    """Bars of a higher timeframe, made of `base`; those that had closed with its last bar."""

    def __init__(
        self, base: Bars, times: Times, timeframe: str, values: NDArray[np.float64], watched: Bars | None
    ) -> None:
        super().__init__(times, base.symbols, timeframe, values, watched=watched)
        self.base = base

    def align(self, frame: Table, timeframe: str | None = None) -> Table:
        """`frame`, computed from these bars, at the bars that they were made of: the newest row that had closed.

        With a `timeframe` it is `Bars.align`: `frame` is of a timeframe higher than these bars.
        """
        return self.base.align(frame, self.timeframe) if timeframe is None else super().align(frame, timeframe)


def _higher(timeframe: str, higher: str) -> Millis:
    """The length in ms of `higher`, which must be a multiple of `timeframe`."""
    try:
        step, length = timeframe_millis(timeframe), timeframe_millis(higher)
    except UsageError as error:
        raise NotebookError(str(error)) from None
    if length < step or length % step:
        raise NotebookError(
            f"{higher} bars cannot be made of {timeframe} bars; choose a multiple, such as bars.at('1d')"
        )
    return length


def to_index(times: NDArray[np.int64]) -> pd.DatetimeIndex:
    """Open times in ms as the index every CashUp frame has."""
    return pd.DatetimeIndex(times.view("M8[ms]"), tz="UTC", name="timestamp")


def to_times(index: pd.Index) -> NDArray[np.int64]:
    """A tz-aware index as int64 ms since the epoch; raises DataError for anything else."""
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise DataError("bars need a DatetimeIndex with a time zone; localize it to UTC first")
    return index.as_unit("ms").asi8


def _extent(times: Times, step: Millis) -> tuple[str, str, int, int]:
    """For people: when the first and the last bar opened, how many there are, and how many are missing in between."""
    if not len(times):
        return "", "", 0, 0
    first, last = (f"{moment:%Y-%m-%d %H:%M}" for moment in to_index(times[[0, -1]]))
    return first, last, len(times), int(times[-1] - times[0]) // step + 1 - len(times)


@lru_cache(maxsize=256)
def _columns(symbols: tuple[str, ...]) -> pd.Index:
    return pd.Index(symbols, name="symbol")
