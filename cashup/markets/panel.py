"""Rows of several series, joined on time, as Bars: decoded straight into the array that Bars stand on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from hashlib import sha256
from typing import TypeVar

import numpy as np

from cashup.clock import timeframe_millis
from cashup.markets.dataset import Ranges, Rows
from cashup.markets.segments import Times, Values
from cashup.strategies.bars import FIELDS, Bars
from cashup.types import Millis

Source = Callable[[Millis | None, Millis | None], Rows]
"""The rows of one symbol in [start, end)."""

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Part:
    """What a run took of one symbol: the version of its rows that lie in [first, last], in ms.

    `kind` is what lies beside bars (`funding`, ...); empty for bars.
    """

    symbol: str
    version: str
    first: Millis
    last: Millis
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """The rows of several symbols on the times that they share (or, `outer`, that any of them has)."""

    sources: Mapping[str, Source]
    timeframe: str
    rows: Mapping[str, Rows]
    times: Times
    outer: bool

    @classmethod
    def open(
        cls, sources: Mapping[str, Source], timeframe: str, start: Millis | None, end: Millis | None, *, outer: bool
    ) -> Panel:
        """Read the times; nothing else is decoded yet."""
        found = _together(lambda source: source(start, end), list(sources.values()))
        times = _join([rows.times for rows in found], outer=outer)
        return cls(sources, timeframe, dict(zip(sources, found, strict=True)), times, outer)

    def position(self, moment: Millis) -> int:
        """How many times lie before `moment`."""
        return int(np.searchsorted(self.times, moment))

    def bars(self, first: int) -> tuple[Bars, tuple[Part, ...]]:
        """The Bars from position `first` on, at least one, and what they were made of."""
        times = self.times[first:]
        # One symbol's column lies in one piece: threads fill whole pages, and so does what pandas makes of it.
        values = np.empty((len(FIELDS), len(self.sources), len(times))).transpose(0, 2, 1)

        def load(item: tuple[int, str]) -> tuple[Part, int]:
            column, symbol = item
            return self._load(symbol, times, values[:, :, column])

        made = _together(load, list(enumerate(self.sources)))
        parts = tuple(part for part, _ in made)
        version = joint_version([part.version for part in parts])
        filled = sum(count for _, count in made)
        return Bars(times, tuple(self.sources), self.timeframe, values, version=version, filled=filled), parts

    def _load(self, symbol: str, times: Times, out: Values) -> tuple[Part, int]:
        """Decode one symbol into `out` (fields x times)."""
        first, last = int(times[0]), int(times[-1])
        rows = self.rows[symbol]
        if not len(rows.times) or rows.times[0] != first or rows.times[-1] != last:
            rows = self.sources[symbol](first, last + 1)
        if np.array_equal(rows.times, times):
            rows.fill(out)
            version = rows.version(out)
        else:
            own = rows.values()
            version = rows.version(own)
            if self.outer:
                out[:] = np.nan
                out[:, np.searchsorted(times, rows.times)] = own
            else:
                out[:] = own[:, np.searchsorted(rows.times, times)]
        return Part(symbol, version, first, last), count_filled(rows.filled, self.timeframe, first, last)


def joint_version(versions: Sequence[str]) -> str:
    """The version of several series together; of one, its own."""
    return versions[0] if len(versions) == 1 else sha256("|".join(versions).encode()).hexdigest()


def count_filled(filled: Ranges, timeframe: str, first: Millis, last: Millis) -> int:
    """How many bars in [first, last] were made up."""
    step = timeframe_millis(timeframe)
    return sum(max((min(stop, last) - max(start, first)) // step + 1, 0) for start, stop in filled)


def _join(times: Sequence[Times], *, outer: bool) -> Times:
    combine = np.union1d if outer else _intersection
    return reduce(lambda one, other: one if np.array_equal(one, other) else combine(one, other), times)


def _intersection(one: Times, other: Times) -> Times:
    found: Times = np.intersect1d(one, other, assume_unique=True)
    return found


def _together(work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """`work` on every item, on as many threads as there are cores: decoding does not hold the GIL."""
    if len(items) == 1:
        return [work(items[0])]
    with ThreadPoolExecutor(min(len(items), len(os.sched_getaffinity(0)))) as pool:
        return list(pool.map(work, items))
