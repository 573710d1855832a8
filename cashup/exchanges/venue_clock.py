"""How far the venue's clock is from ours, from the times that its answers carry.

An order's fence is a time that we write and the venue compares: with clocks that are apart it is refused, or it may be
taken after we hold it for dead. So nothing is placed while they certainly are. The venue's time is carried on with the
loop's clock, which never jumps, so that a jump of ours is seen at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from cashup.clock import Clock
from cashup.errors import ExchangeRefused, ExchangeTransient
from cashup.types import Millis

log = structlog.get_logger()

APART: Millis = 500
"""How far the clocks may be apart for orders to be sent."""

_KEPT_SECONDS = 30.0
"""How long a sample is better than a newer one that was taken with less certainty."""
_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Sample:
    """The venue's time (ms), the loop's when it was so (s), and how wrong that may be (ms)."""

    theirs: Millis
    at: float
    wrong_by: float


class VenueClock:
    """The venue's clock as far as it is known."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sample: _Sample | None = None
        self._asking: asyncio.Task[None] | None = None

    def note(self, theirs: Millis | None, asked: float, answered: float) -> None:
        """An answer carried the venue's time; `asked` and `answered` are the loop's times around it (s)."""
        if theirs is None:
            return
        sample = _Sample(theirs, (asked + answered) / 2, (answered - asked) * 500)
        best = self._sample
        better = best is None or sample.wrong_by <= best.wrong_by or sample.at - best.at > _KEPT_SECONDS
        if better or (best is not None and _contradicts(sample, best)):
            self._sample = sample

    def offset(self) -> float:
        """By how much the venue's clock is ahead of ours for certain (ms; below zero: behind); 0 when nobody knows."""
        sample = self._sample
        if sample is None:
            return 0.0
        now = asyncio.get_running_loop().time()
        apart = sample.theirs + (now - sample.at) * 1000 - self._clock.now()
        return apart - sample.wrong_by if apart > sample.wrong_by else min(apart + sample.wrong_by, 0.0)

    def wait(self, ask: Callable[[], Coroutine[Any, Any, None]]) -> float:
        """Seconds after which to look again whether an order may be sent; 0 when it may.

        `ask` asks the venue something that is answered with its time. It is called for as long as the clocks are apart.
        """
        if not self.apart:
            return 0.0
        if self._asking is None or self._asking.done():
            log.warning("the clocks are apart, no order is sent", milliseconds=round(self.offset()))
            self._asking = asyncio.create_task(_asked(ask()), name="the venue's time")
        return _AGAIN_SECONDS

    def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()

    @property
    def apart(self) -> bool:
        """True when the clocks are certainly too far apart to place an order."""
        return abs(self.offset()) > APART


async def _asked(ask: Coroutine[Any, Any, None]) -> None:
    with suppress(ExchangeTransient, ExchangeRefused):  # it is asked again
        await ask


def _contradicts(new: _Sample, old: _Sample) -> bool:
    """True when both cannot be: the venue's clock was set in between."""
    expected = old.theirs + (new.at - old.at) * 1000
    return abs(new.theirs - expected) > new.wrong_by + old.wrong_by
