"""The quota of intents: what was saved up may be spent at once, then the rate holds, for each deployment by itself."""

from __future__ import annotations

import pytest

from cashup.clock import VirtualClock
from cashup.errors import TooManyRequests
from cashup.trading.quota import Quota


def used(quota: Quota, deployment: str, tries: int) -> int:
    taken = 0
    for _ in range(tries):
        try:
            quota.use(deployment)
        except TooManyRequests:
            continue
        taken += 1
    return taken


def test_a_flood_gets_what_was_saved_up_and_then_the_rate() -> None:
    clock = VirtualClock(0)
    quota = Quota(clock, per_second=10, at_once=20)
    assert used(quota, "flood", 500) == 20
    taken = 0
    for moment in range(1, 10_001):
        clock.advance_to(moment)
        taken += used(quota, "flood", 1)
    assert taken == pytest.approx(100, abs=1)


def test_others_notice_nothing() -> None:
    quota = Quota(VirtualClock(0), per_second=10, at_once=20)
    used(quota, "flood", 500)
    assert used(quota, "calm", 20) == 20


def test_silence_saves_up_no_more_than_that() -> None:
    clock = VirtualClock(0)
    quota = Quota(clock, per_second=10, at_once=20)
    used(quota, "flood", 20)
    clock.advance_to(3_600_000)
    assert used(quota, "flood", 500) == 20
