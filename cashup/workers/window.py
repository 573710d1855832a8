"""The trailing window of bars that a live strategy sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cashup.errors import IntegrityError
from cashup.strategies.bars import FIELDS, Bars
from cashup.types import Millis

Ohlcv = Sequence[float] | None
"""One bar of one symbol as the gateway sends it: open, high, low, close, volume; None where the symbol has none."""

_NONE = (np.nan,) * len(FIELDS)


class Window:
    """The newest `size` bars of some symbols, appended one by one without copying the others.

    What `bars()` gave out stays as it was: memory is appended to and then left behind, never overwritten.
    """

    def __init__(self, symbols: Sequence[str], timeframe: str, size: int) -> None:
        self.symbols = tuple(symbols)
        self.timeframe = timeframe
        self.size = size
        self._room = max(4 * size, 256)
        self._count = 0
        self._times, self._values = self._empty()

    def __len__(self) -> int:
        return min(self._count, self.size)

    @property
    def full(self) -> bool:
        """True when there are as many bars as a decision needs."""
        return self._count >= self.size

    @property
    def newest(self) -> Millis | None:
        """The open time of the newest bar, or None when there is none."""
        return int(self._times[self._count - 1]) if self._count else None

    def load(self, times: Sequence[Millis], bars: Mapping[str, Sequence[Ohlcv]]) -> None:
        """Start again with a history, oldest first: open times, and per symbol at least one bar for each of them."""
        self._times, self._values = self._empty()
        first = max(len(times) - self.size, 0)
        self._count = len(times) - first
        self._times[: self._count] = times[first:]
        for column, symbol in enumerate(self.symbols):
            if self._count:
                rows = [_NONE if bar is None else bar for bar in bars[symbol][first : len(times)]]
                self._values[:, : self._count, column] = np.asarray(rows, dtype=np.float64).T

    def append(self, time: Millis, bars: Mapping[str, Ohlcv]) -> None:
        """Add the bar that closed last; raises IntegrityError when it is not newer than the others."""
        newest = self.newest
        if newest is not None and time <= newest:
            raise IntegrityError(f"the gateway sent bar {time} after bar {newest}; bars must come in order, once each")
        if self._count == self._room:
            self._move()
        self._times[self._count] = time
        for column, symbol in enumerate(self.symbols):
            bar = bars[symbol]
            self._values[:, self._count, column] = _NONE if bar is None else bar
        self._count += 1

    def bars(self) -> Bars:
        """The newest `size` bars (fewer when there are not as many yet)."""
        first = self._count - len(self)
        rows = slice(first, self._count)
        return Bars(self._times[rows], self.symbols, self.timeframe, self._values[:, rows])

    def _move(self) -> None:
        kept = self.size - 1
        times, values = self._empty()
        if kept:
            times[:kept] = self._times[self._count - kept : self._count]
            values[:, :kept] = self._values[:, self._count - kept : self._count]
        self._times, self._values, self._count = times, values, kept

    def _empty(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return np.zeros(self._room, dtype=np.int64), np.zeros((len(FIELDS), self._room, len(self.symbols)))
