"""Which bars a worker was sent and has not answered. One is the ordinary case and stays here; more is written down."""

from __future__ import annotations

from collections import deque

from cashup.clock import Clock
from cashup.trading.deployments import Deployments
from cashup.types import Millis

_WRITTEN_FROM = 2
"""So many unanswered bars are a matter for the database: the supervisor looks there for workers that hang."""


class Arrears:
    """The unanswered bars of one connection of an attempt.

    A bar is answered when the intent for it, or for a later one, arrives. While such an intent is decided here, the
    worker waits for us, and nothing is held against it.
    """

    def __init__(self, deployments: Deployments, deployment: str, attempt: int, clock: Clock) -> None:
        self._deployments = deployments
        self._deployment = deployment
        self._attempt = attempt
        self._clock = clock
        self._sent: deque[Millis] = deque()
        self._since: Millis = 0
        self._excused = 0
        self._waits_for_us = False
        self._written = _WRITTEN_FROM  # what an earlier connection wrote is not known

    def excuse(self, bars: int) -> None:
        """The next `bars` bars complete the worker's warm-up: it answers none of them."""
        self._excused = max(bars, 0)

    async def forget(self) -> None:
        """Nothing is owed: a new connection, or a deployment that is paused."""
        self._sent.clear()
        await self._write()

    async def sent(self, bar: Millis) -> None:
        """This bar went to the worker."""
        if self._excused:
            self._excused -= 1
            return
        if not self._sent:
            self._since = self._clock.now()
        self._sent.append(bar)
        if not self._waits_for_us:
            await self._write()

    def arrived(self, bar: object) -> None:
        """The intent for `bar` is here and will be decided."""
        self._waits_for_us = True
        while self._sent and isinstance(bar, int) and self._sent[0] <= bar:
            self._sent.popleft()

    async def decided(self) -> None:
        """It was, and the worker knows: now what is left is its own affair again."""
        self._waits_for_us = False
        self._since = self._clock.now()
        await self._write()

    async def _write(self) -> None:
        count = len(self._sent)
        if count >= _WRITTEN_FROM or self._written >= _WRITTEN_FROM:
            await self._deployments.behind(self._deployment, self._attempt, count, self._since if count else None)
            self._written = count
