"""The venue's clock is known from its answers, and a clock that jumps is seen, whichever it is."""

from __future__ import annotations

import asyncio

from cashup.clock import VirtualClock
from cashup.exchanges.venue_clock import APART, VenueClock

NOW = 1_000_000


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


async def test_without_an_answer_nothing_is_known() -> None:
    assert VenueClock(VirtualClock(NOW)).offset() == 0


async def test_an_answer_tells_how_far_the_clocks_are_apart() -> None:
    venue, at = VenueClock(VirtualClock(NOW)), _loop_time()
    venue.note(NOW + 2_000, at - 0.05, at + 0.05)
    assert 1_900 <= venue.offset() <= 2_100
    assert venue.apart


async def test_only_what_is_certain_counts() -> None:
    venue, at = VenueClock(VirtualClock(NOW)), _loop_time()
    venue.note(NOW + 1_000, at - 1.5, at + 1.5)  # it may be 1,500 ms wrong
    assert venue.offset() == 0
    assert not venue.apart


async def test_a_surer_sample_stays_until_it_is_contradicted() -> None:
    venue, at = VenueClock(VirtualClock(NOW)), _loop_time()
    venue.note(NOW - 1_000, at, at)
    venue.note(NOW, at - 2, at + 2)
    assert venue.apart
    venue.note(NOW, at - 0.1, at + 0.1)
    assert not venue.apart


async def test_a_jump_of_our_own_clock_is_seen_without_an_answer() -> None:
    ours = VirtualClock(NOW)
    venue, at = VenueClock(ours), _loop_time()
    venue.note(NOW, at, at)
    assert not venue.apart
    ours.advance_to(NOW + APART + 200)
    assert venue.apart
    assert venue.offset() < -APART
