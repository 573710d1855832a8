"""What the lake knows of a live series' past: the newest stretch of bars in it that is proven closed and has no gap.

The gateway has neither pandas nor pyarrow in memory until a lake is read for the first time, so nothing here is
imported before; and it is read on a thread, because the trading loop waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import structlog

from cashup.clock import WallClock, timeframe_millis
from cashup.errors import CashUpError
from cashup.types import Candle, Millis, Symbol

log = structlog.get_logger()

AGREE = 1e-9
"""How far, as a ratio, a number of the lake may be from the venue's: one that went through other decimals."""


class Past:
    """The bars of the lake at `location`, by venue key: `gate`, and `gate@host` for the same exchange elsewhere."""

    def __init__(self, location: str | Path) -> None:
        self._location = location

    async def stretch(
        self, venue: str, symbol: Symbol, timeframe: str, since: Millis, until: Millis
    ) -> dict[Millis, Candle]:
        """The newest bars in [since, until) without a gap, oldest first; none when the lake has none or is broken.

        Made-up bars end a stretch, and the lake's last bar, which may have been open when it was stored, is left out.
        """
        try:
            return await asyncio.to_thread(self._read, venue.partition("@")[0], symbol, timeframe, since, until)
        except (CashUpError, OSError, ValueError) as error:
            log.warning("the lake is left out", venue=venue, symbol=symbol, timeframe=timeframe, error=str(error))
            return {}

    def _read(
        self, exchange: str, symbol: Symbol, timeframe: str, since: Millis, until: Millis
    ) -> dict[Millis, Candle]:
        if "://" not in str(self._location) and not (Path(self._location) / exchange).is_dir():
            return {}
        from cashup.markets.dataset import Dataset
        from cashup.markets.kinds import kind_of
        from cashup.markets.store import open_store

        dataset = Dataset(open_store(self._location), exchange, symbol, kind_of(timeframe), WallClock())
        if not dataset.exists():
            return {}
        step, last = timeframe_millis(timeframe), dataset.span()[2]
        rows = dataset.rows(since, min(until, last))
        times, values = rows.times.tolist(), rows.values().T.tolist()
        found: dict[Millis, Candle] = {}
        for time, row in zip(reversed(times), reversed(values), strict=True):
            if found and time != next(reversed(found)) - step:
                break
            if any(first <= time <= end for first, end in rows.filled):
                break
            found[time] = _candle(symbol, timeframe, time, row)
        return dict(reversed(found.items()))


def disagreement(lake: Mapping[Millis, Candle], venue: Mapping[Millis, Candle]) -> Millis | None:
    """The first bar that both cover and that is not the same, or that only the lake has between two of the venue's."""
    if not venue:
        return None
    first, last = min(venue), max(venue)
    for time, candle in lake.items():
        if first <= time <= last and (time not in venue or not _same(candle, venue[time])):
            return time
    return None


def _same(one: Candle, other: Candle) -> bool:
    pairs = (
        (one.open, other.open),
        (one.high, other.high),
        (one.low, other.low),
        (one.close, other.close),
        (one.volume, other.volume),
    )
    return all(abs(float(a) - float(b)) <= AGREE * max(abs(float(a)), abs(float(b))) for a, b in pairs)


def _candle(symbol: Symbol, timeframe: str, time: Millis, row: list[float]) -> Candle:
    opened, high, low, close, volume = (Decimal(repr(number)) for number in row)
    return Candle(symbol, timeframe, time, opened, high, low, close, volume, closed=True)
