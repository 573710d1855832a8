"""Gate's published rate limits, counted in windows that start with the first request in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from cashup.types import Millis


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `limit` requests within `window` milliseconds."""

    limit: int
    window: Millis


PUBLIC = Rule(200, 10_000)
PRIVATE = Rule(200, 10_000)
PLACE = Rule(10, 1_000)
CANCEL = Rule(200, 1_000)


@dataclass(frozen=True, slots=True)
class Violation:
    """One request over a limit: when (ms), in which scope (uid or address first), over how many requests."""

    at: Millis
    scope: tuple[str, ...]
    limit: int


@dataclass(slots=True)
class Usage:
    """What one request left over."""

    limit: int
    remain: int
    reset: Millis
    allowed: bool


class RateLimits:
    """Counts requests per scope; `now` may run faster than the wall (a replayed hour is an hour for the limits).

    `violations` counts the requests that were over a limit, `offences` says which the newest of them were.
    """

    def __init__(self, now: Callable[[], Millis], *, enforce: bool = True) -> None:
        self._now = now
        self.enforce = enforce
        self._windows: dict[tuple[str, ...], tuple[Millis, int]] = {}
        self.violations = 0
        self.offences: deque[Violation] = deque(maxlen=1_000)

    def count(self, scope: tuple[str, ...], rule: Rule) -> Usage:
        """Count one request in `scope`."""
        now = self._now()
        start, used = self._windows.get(scope, (now, 0))
        if now - start >= rule.window:
            start, used = now, 0
        allowed = used < rule.limit
        if allowed:
            used += 1
        else:
            self.violations += 1
            self.offences.append(Violation(now, scope, rule.limit))
        self._windows[scope] = (start, used)
        return Usage(rule.limit, rule.limit - used, start + rule.window, allowed or not self.enforce)
