"""Rate limits: our own count of what a venue lets us do, kept before the venue has to say no.

A bucket holds tickets. A request takes one, and it is free again one whole window after the answer: the venue received
the request some time before that, so that whichever window the venue counts in, it never sees more than its limit. What
the venue says of its own count replaces ours; a refusal (429) closes the bucket until the time that it names.

Requests that must wait do so in lanes: cancels before reads that reconcile before everything else, and of a bucket that
serves them all the last lane leaves a part to the others. Nobody is asked to wait for a ticket after he has claimed an
order: that would run down the order's fence. `admit` answers at once, and keeps the ticket for the order that it names.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import ceil
from typing import Protocol

from cashup.clock import Clock
from cashup.types import Millis

Sleep = Callable[[float], Awaitable[None]]
"""Waits for so many seconds."""

RESERVED = 0.2
"""The part of a bucket that only the first two lanes may use."""

_UNUSED: Millis = 10_000
"""How long a ticket is kept for an order that was admitted and is not sent."""
_LONGEST: Millis = 60_000
"""How long a venue may close a bucket, and a request may stay without an answer, before its word is not believed."""
_SOON = 0.01


class Lane(IntEnum):
    """Who goes first."""

    CANCEL = 0
    RECONCILE = 1
    PLACE = 2


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `limit` requests in any `window`. `shared`: all lanes use it, so that a part is reserved."""

    limit: int
    window: Millis
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What a venue says of a limit: `limit`, how many requests are left, and when it counts anew (ms)."""

    limit: int | None = None
    remain: int | None = None
    reset: Millis | None = None


@dataclass(eq=False, slots=True)
class Ticket:
    """Leave for one request. `free_at` is None until the answer is there."""

    bucket: Bucket
    taken_at: Millis
    answered_at: Millis | None = None
    free_at: Millis | None = None

    def answered(self, usage: Usage | None = None, *, refused: bool = False) -> None:
        """The answer is there, or there will be none; `refused` when the venue said that it was one too many."""
        self.bucket.answered(self, usage, refused=refused)

    def give_back(self) -> None:
        """Nothing was sent."""
        self.bucket.forget(self)


class Bucket:
    """One limit of one account or address. `part` is how much of it this process may use, from 0 to 1.

    Until it is `known` what is left of the limit, which the first answer tells, one request is made at a time: a
    process that was here before may have used it up.
    """

    def __init__(self, rule: Rule, clock: Clock) -> None:
        self.rule = rule
        self.limit = rule.limit
        self.part = 1.0
        self.closed_until: Millis = 0
        self.known = False
        self._clock = clock
        self._tickets: list[Ticket] = []

    def room(self, lane: Lane) -> int:
        """How many requests of this lane may be made now."""
        now = self._clock.now()
        self._tickets = [ticket for ticket in self._tickets if not _is_free(ticket, now)]
        if now < self.closed_until:
            return 0
        if not self.known:
            return 0 if self._tickets else 1
        most = max(1, int(self.limit * self.part))
        if self.rule.shared and lane is Lane.PLACE:
            most -= ceil(most * RESERVED)
        return max(0, most - len(self._tickets))

    def take(self, lane: Lane) -> Ticket | None:
        """A ticket, or None when there is none now."""
        if self.room(lane) == 0:
            return None
        ticket = Ticket(self, self._clock.now())
        self._tickets.append(ticket)
        return ticket

    def seconds(self) -> float:
        """How long it takes at least until a ticket may be free."""
        now = self._clock.now()
        if now < self.closed_until:
            return (self.closed_until - now) / 1000
        first = min((ticket.free_at for ticket in self._tickets if ticket.free_at is not None), default=now)
        return max((first - now) / 1000, _SOON)

    def answered(self, ticket: Ticket, usage: Usage | None, *, refused: bool) -> None:
        """See `Ticket.answered`."""
        now = self._clock.now()
        ticket.answered_at, ticket.free_at = now, now + self.rule.window
        self.known = True
        if refused:
            reset = usage.reset if usage is not None and usage.reset is not None else 0
            self.closed_until = reset if now < reset <= now + _LONGEST else now + self.rule.window
        elif usage is not None and usage.limit and usage.remain is not None:
            self.limit = usage.limit
            self._believe(ticket, usage.limit - usage.remain, now)

    def forget(self, ticket: Ticket) -> None:
        """See `Ticket.give_back`."""
        self._tickets = [other for other in self._tickets if other is not ticket]

    def _believe(self, ticket: Ticket, used: int, now: Millis) -> None:
        """The venue had counted `used` requests when it answered this one.

        Among them may be or not be those that were under way at the same time; everything older counts only as far as
        the venue says so. What it counts beyond that is somebody else's, with the same account or address.
        """
        beside = [t for t in self._tickets if t is not ticket and _under_way(t, ticket.taken_at)]
        older = [t for t in self._tickets if t is not ticket and not _under_way(t, ticket.taken_at)]
        kept = older[len(older) - max(used - 1, 0) :] if used - 1 < len(older) else older
        strangers = max(0, used - 1 - len(kept) - len(beside))
        foreign = [Ticket(self, now, now, now + self.rule.window) for _ in range(strangers)]
        self._tickets = [*kept, *foreign, *beside, ticket]


class Shares(Protocol):
    """How the gateways that use the same limits divide them."""

    def part(self, key: str) -> float:
        """The part of the limit that this process may use; 0 while that is being found out. Called before each use."""
        ...


class Alone:
    """Nobody else uses the limits."""

    def part(self, key: str) -> float:
        """All of it."""
        return 1.0


class Limiter:
    """The buckets of one process. `sleep` is how it waits; on a virtual clock give it one that moves the clock."""

    def __init__(self, clock: Clock, shares: Shares | None = None, sleep: Sleep = asyncio.sleep) -> None:
        self._clock = clock
        self._shares = shares or Alone()
        self._sleep = sleep
        self._buckets: dict[str, Bucket] = {}
        self._waiting: defaultdict[str, Counter[Lane]] = defaultdict(Counter)
        self._admitted: dict[str, Ticket] = {}

    async def wait(self, key: str, rule: Rule, lane: Lane) -> Ticket:
        """A ticket as soon as there is one and nobody of an earlier lane waits for it."""
        waiting = self._waiting[key]
        waiting[lane] += 1
        try:
            while True:
                bucket = self._bucket(key, rule)
                if not any(waiting[first] for first in Lane if first < lane) and (ticket := bucket.take(lane)):
                    return ticket
                await self._sleep(bucket.seconds())
        finally:
            waiting[lane] -= 1

    def admit(self, key: str, rule: Rule, order: str) -> float:
        """Keep a ticket for the order with this id: 0.0, or the seconds after which to ask again."""
        now = self._clock.now()
        for known, ticket in list(self._admitted.items()):
            if known != order and now - ticket.taken_at > _UNUSED:
                self._admitted.pop(known).give_back()
        if order in self._admitted:
            return 0.0
        bucket = self._bucket(key, rule)
        found = bucket.take(Lane.PLACE)
        if found is None:
            return bucket.seconds()
        self._admitted[order] = found
        return 0.0

    def admitted(self, order: str) -> Ticket | None:
        """The ticket that was kept for the order; it is the caller's now."""
        return self._admitted.pop(order, None)

    def _bucket(self, key: str, rule: Rule) -> Bucket:
        if key not in self._buckets:
            self._buckets[key] = Bucket(rule, self._clock)
        bucket = self._buckets[key]
        part = self._shares.part(key)
        bucket.part = part
        if part == 0:
            bucket.closed_until = max(bucket.closed_until, self._clock.now() + int(_SOON * 1000))
        return bucket


def read_usage(headers: Mapping[str, str]) -> Usage | None:
    """What Gate's headers say of a limit, over HTTP and in the WebSocket API, in both spellings; None without any."""
    plain = {name.lower().replace("_", "-").replace("x-gat-", "x-gate-"): value for name, value in headers.items()}
    limit, remain, reset = (_number(plain.get(f"x-gate-ratelimit-{name}")) for name in _FIELDS)
    if limit is None and remain is None and reset is None:
        return None
    # Gate writes seconds over HTTP and milliseconds in the WebSocket API.
    return Usage(limit, remain, reset * 1000 if reset is not None and reset < _SECONDS_END else reset)


_FIELDS = ("limit", "requests-remain", "reset-timestamp")
_SECONDS_END = 100_000_000_000


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdecimal() else None


def _is_free(ticket: Ticket, now: Millis) -> bool:
    return now >= (ticket.free_at if ticket.free_at is not None else ticket.taken_at + _LONGEST)


def _under_way(ticket: Ticket, since: Millis) -> bool:
    """True when it had no answer at that time."""
    return ticket.answered_at is None or ticket.answered_at >= since
