"""The clocks of the simulated machines."""

from __future__ import annotations

from collections.abc import Callable

from cashup.types import Millis


class SimulatedClock:
    """A machine's wall clock: the simulation's time plus what it is wrong by."""

    def __init__(self, seconds: Callable[[], float], start: Millis) -> None:
        self._seconds = seconds
        self._start = start
        self.wrong_by: Millis = 0

    def now(self) -> Millis:
        """Milliseconds since the epoch, UTC."""
        return self._start + round(self._seconds() * 1000) + self.wrong_by
