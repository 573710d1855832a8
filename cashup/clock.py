"""Time as an object: the wall clock for trading, a virtual one for replay and simulation.

Nothing else in CashUp may ask the operating system for the date. (Durations may use `time.monotonic` directly.)
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

from cashup.errors import UsageError
from cashup.types import Millis


class Clock(Protocol):
    """What the rest of CashUp needs to know about time."""

    def now(self) -> Millis:
        """Milliseconds since the epoch, UTC."""
        ...


class WallClock:
    """The machine's clock."""

    def now(self) -> Millis:
        """Milliseconds since the epoch, UTC."""
        return time.time_ns() // 1_000_000


class FastClock:
    """The machine's clock, running `speed` times as fast from the moment it was made: days for simulations."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._start = time.time_ns() // 1_000_000
        self._made = time.monotonic()

    def now(self) -> Millis:
        """Milliseconds since the epoch, UTC."""
        return self._start + int((time.monotonic() - self._made) * 1000 * self._speed)


class VirtualClock:
    """A clock that moves only when it is told to, and never backwards."""

    def __init__(self, start: Millis = 0) -> None:
        self._now = start

    def now(self) -> Millis:
        """The time it was last moved to."""
        return self._now

    def advance_to(self, moment: Millis) -> None:
        """Move to `moment`; raises ValueError when that lies in the past."""
        if moment < self._now:
            raise ValueError(f"a clock does not run backwards: {moment} is before {self._now}")
        self._now = moment


def to_datetime(moment: Millis) -> datetime:
    """`moment` as an aware UTC datetime."""
    return datetime.fromtimestamp(moment / 1000, tz=UTC)


def to_millis(moment: datetime) -> Millis:
    """An aware datetime as milliseconds; raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("a time without a time zone cannot be placed; add one (UTC)")
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def parse_time(text: str) -> Millis:
    """An ISO 8601 date or time (`2025-01-01`, `2025-01-01T12:00`) in ms; UTC when it names no zone.

    Raises UsageError for anything else.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{text!r} is not a time; write it like 2025-01-31 or 2025-01-31T12:00") from None
    return to_millis(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def isoformat(moment: Millis) -> str:
    """`moment` as ISO 8601 in UTC, to the second: `2025-01-01T00:00:00Z`."""
    return to_datetime(moment).strftime("%Y-%m-%dT%H:%M:%SZ")


def isoformat_millis(moment: Millis) -> str:
    """`moment` as ISO 8601 in UTC, to the millisecond: `2025-01-01T00:00:00.000Z`."""
    return to_datetime(moment).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def timeframe_millis(timeframe: str) -> Millis:
    """The length of one bar of a ccxt timeframe (`1m 5m 1h 4h 1d 1w`); raises UsageError for anything else."""
    count, unit = timeframe[:-1], timeframe[-1:]
    if not count.isdigit() or int(count) == 0 or unit not in _UNITS:
        raise UsageError(f"{timeframe!r} is not a timeframe; use ccxt's, such as 1m, 5m, 1h, 4h or 1d")
    return int(count) * _UNITS[unit]
