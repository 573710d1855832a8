"""The venue's dead man's switch: what is not renewed in time cancels a customer's resting orders."""

from __future__ import annotations

from cashup.clock import Clock
from cashup.types import Millis

Scope = tuple[int, str | None]
"""A customer's uid, and the market's id or None for all of them."""


class Countdowns:
    """The switches that are armed. A market's and the one for all markets run side by side."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deadlines: dict[Scope, Millis] = {}

    @property
    def next(self) -> Millis | None:
        """When the next one fires; None when none is armed."""
        return min(self._deadlines.values(), default=None)

    def arm(self, uid: int, pair: str | None, seconds: int) -> Millis:
        """Start again at `seconds`, or switch off at 0; when it fires (0 when it is off)."""
        if seconds == 0:
            self._deadlines.pop((uid, pair), None)
            return 0
        deadline = self._clock.now() + seconds * 1000
        self._deadlines[uid, pair] = deadline
        return deadline

    def due(self) -> list[Scope]:
        """Those that ran out; each is named once."""
        now = self._clock.now()
        fired = [scope for scope, deadline in self._deadlines.items() if deadline <= now]
        for scope in fired:
            del self._deadlines[scope]
        return fired
