"""When a worker that died is started again, and when to give up."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

RETRYABLE = frozenset({"Unauthenticated", "Unavailable"})
"""What a notebook may end with although nothing is wrong with the strategy: the next attempt gets a new token."""


@dataclass
class Restarts:
    """The deaths of one deployment's workers. The first restart is immediate, then the pauses double.

    More than `limit` deaths within `window` seconds are too many. Times are those of a monotonic clock.
    """

    limit: int = 5
    window: float = 600.0
    base: float = 1.0
    cap: float = 60.0
    deaths: deque[float] = field(default_factory=deque)

    def died(self, now: float) -> float | None:
        """Count a death; the seconds to wait before the next start, or None when there shall be none."""
        self.deaths.append(now)
        while self.deaths and self.deaths[0] <= now - self.window:
            self.deaths.popleft()
        count = len(self.deaths)
        if count > self.limit:
            return None
        return 0.0 if count == 1 else min(self.base * 2.0 ** (count - 2), self.cap)
