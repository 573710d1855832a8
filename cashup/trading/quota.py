"""How many intents a deployment may send: who floods gets an error, and nobody else notices."""

from __future__ import annotations

from dataclasses import dataclass

from cashup.clock import Clock
from cashup.errors import IntentQuotaExceeded
from cashup.types import Millis

PER_SECOND = 200
"""Intents of one deployment, in the long run."""
AT_ONCE = 400
"""Intents of one deployment that was silent before."""


@dataclass(slots=True)
class _Left:
    intents: float
    at: Millis


class Quota:
    """The intents that each deployment has left, filled up again as time passes."""

    def __init__(self, clock: Clock, per_second: float = PER_SECOND, at_once: int = AT_ONCE) -> None:
        self._clock = clock
        self._per_second = per_second
        self._at_once = at_once
        self._left: dict[str, _Left] = {}

    def use(self, deployment: str) -> None:
        """Count one intent; raises IntentQuotaExceeded when there are none left."""
        now = self._clock.now()
        left = self._left.setdefault(deployment, _Left(self._at_once, now))
        gained = max(now - left.at, 0) * self._per_second / 1000
        left.intents, left.at = min(left.intents + gained, self._at_once), now
        if left.intents < 1:
            raise IntentQuotaExceeded(
                f"{deployment} sends more than {self._per_second:g} intents a second; this one was not taken"
            )
        left.intents -= 1
