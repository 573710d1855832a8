"""The bars of a deployment's life twice: as they are today, and as they were when live decided upon them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cashup.client import Client
from cashup.errors import DataError
from cashup.markets.lake import Lake
from cashup.research.asked import About
from cashup.strategies.bars import FIELDS, Bars
from cashup.types import Millis

ByTime = Mapping[Millis, Sequence[float]]
"""Bars of one symbol by open time: open, high, low, close, volume."""


@dataclass(frozen=True, slots=True)
class LifeBars:
    """`today` from `where`, and `seen`: the same object when no bar differs.

    `revised` bars differ; `unrecorded` ones are not on record as they were, and are taken to be unchanged.
    """

    today: Bars
    where: str
    seen: Bars
    revised: int
    unrecorded: int


def life_bars(
    client: Client, name: str, exchange: str, about: About, lake: Lake, first: Millis, last: Millis
) -> LifeBars:
    """The bars that a re-run from bar `first` to bar `last` needs, with the warm-up before.

    Today's are the lake's when it has all of them, else the venue's. Raises DataError when there are none.
    """
    ask = _Ask(client, name, about.timeframe)
    today, where = _of_lake(lake, exchange, about, first, last), f"the lake ({exchange})"
    if today is None:
        today, where = _of_venue(ask, about, first, last), "the venue"
    since, until = int(today.times[0]), int(today.times[-1]) + 1
    seen, revised, unrecorded = overlaid(today, {s: ask.all(s, since, until, seen=True) for s in today.symbols})
    return LifeBars(today, where, seen, revised, unrecorded)


def _of_lake(lake: Lake, exchange: str, about: About, first: Millis, last: Millis) -> Bars | None:
    """The lake's bars, None unless they reach from the first to the last."""
    symbols, end = (*about.symbols, *about.watch), last + about.bar_millis
    try:
        bars = lake.bars(exchange, symbols, about.timeframe, first, end, warmup=about.warmup, outer=about.outer)
    except DataError:
        return None
    return bars if int(bars.times[about.warmup]) == first and int(bars.times[-1]) == last else None


def _of_venue(ask: _Ask, about: About, first: Millis, last: Millis) -> Bars:
    start = max(first - (about.warmup + about.warmup // 8 + 2) * about.bar_millis, 0)
    symbols, end = (*about.symbols, *about.watch), last + about.bar_millis
    rows = {str(symbol): ask.all(symbol, start, end, seen=False) for symbol in symbols}
    return joined(rows, about.timeframe, outer=about.outer)


@dataclass(frozen=True, slots=True)
class _Ask:
    """Bars of a deployment's venue, asked of the gateway."""

    client: Client
    name: str
    timeframe: str

    def all(self, symbol: str, since: Millis, until: Millis, *, seen: bool) -> dict[Millis, list[float]]:
        """Every bar of one symbol in [since, until), by open time."""
        found: dict[Millis, list[float]] = {}
        while since < until:
            page = self.client.bars(self.name, symbol, self.timeframe, since, until, seen=seen)
            if not page:
                break
            found |= {int(time): values for time, *values in page}
            since = int(page[-1][0]) + 1
        return found


def joined(rows: Mapping[str, ByTime], timeframe: str, *, outer: bool) -> Bars:
    """Bars of several symbols together; a time that one lacks is left out, or with `outer` has NaN there.

    Raises DataError when nothing is left.
    """
    sets = [set(found) for found in rows.values()]
    times = sorted(set.union(*sets) if outer else set.intersection(*sets))
    if not times:
        raise DataError(f"there are no bars of {', '.join(rows)} {timeframe}; `cashup data download` gets them")
    empty = [float("nan")] * len(FIELDS)
    values = np.array([[found.get(time, empty) for found in rows.values()] for time in times], dtype=np.float64)
    return Bars(np.array(times, dtype=np.int64), tuple(rows), timeframe, values.transpose(2, 0, 1).copy())


def overlaid(today: Bars, seen: Mapping[str, ByTime]) -> tuple[Bars, int, int]:
    """`today` with what was `seen` in its place, how many bars differ, and how many were not seen.

    A bar that was seen and is not there today is there again. The same object comes back when none differs.
    """
    known = set(today.times.tolist())
    added = sorted(set.intersection(*(set(found) for found in seen.values())) - known) if seen else []
    times = np.array(sorted([*known, *added]), dtype=np.int64)
    values = np.full((len(FIELDS), len(times), len(today.symbols)), np.nan)
    places = {int(time): place for place, time in enumerate(times.tolist())}
    values[:, [places[time] for time in today.times.tolist()]] = today.values
    revised, unrecorded = 0, 0
    for column, symbol in enumerate(today.symbols):
        found = seen.get(symbol, {})
        for time, place in places.items():
            bar = found.get(time)
            if bar is None:
                unrecorded += 1
            elif values[:, place, column].tolist() != list(bar):
                revised += 1
                values[:, place, column] = bar
    if not revised:
        return today, 0, unrecorded
    return Bars(times, today.symbols, today.timeframe, values), revised, unrecorded
