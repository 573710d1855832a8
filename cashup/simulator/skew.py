"""The venue's clock, which may go wrong."""

from __future__ import annotations

from cashup.clock import Clock
from cashup.types import Millis


class SkewedClock:
    """Another clock, off by `skew` milliseconds; below zero it is behind."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.skew: Millis = 0

    def now(self) -> Millis:
        """Milliseconds since the epoch, UTC, as the venue believes."""
        return self._clock.now() + self.skew
