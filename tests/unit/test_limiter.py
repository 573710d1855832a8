"""Our own count of a venue's rate limits: whatever windows the venue counts in, it never sees too many."""

from __future__ import annotations

import asyncio
import random

import pytest

from cashup.clock import VirtualClock
from cashup.exchanges.gate_limits import CANCEL, PLACE, PRIVATE, PUBLIC, limit_of
from cashup.exchanges.limiter import Bucket, Lane, Limiter, Rule, Usage, read_usage
from cashup.simulator.limits import RateLimits
from cashup.simulator.limits import Rule as VenueRule


class Time:
    """A virtual clock that moves when everybody sleeps."""

    def __init__(self) -> None:
        self.clock = VirtualClock(1_000_000)
        self._sleeping: list[tuple[int, int, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleeping.append((self.clock.now() + max(1, round(seconds * 1000)), len(self._sleeping), future))
        await future

    async def run(self, work: asyncio.Task[None]) -> None:
        while not work.done():
            for _ in range(20):
                await asyncio.sleep(0)
            if work.done():
                break
            self._sleeping.sort(key=lambda entry: entry[:2])
            moment, _, future = self._sleeping.pop(0)
            self.clock.advance_to(max(moment, self.clock.now()))
            if not future.done():
                future.set_result(None)
        await work


def known(rule: Rule, clock: VirtualClock) -> Bucket:
    """A bucket of which it is known that nothing was used."""
    bucket = Bucket(rule, clock)
    bucket.known = True
    return bucket


def test_one_request_goes_alone_until_it_is_known_what_is_left() -> None:
    bucket = Bucket(PLACE, VirtualClock(0))
    ticket = bucket.take(Lane.PLACE)
    assert ticket is not None
    assert bucket.take(Lane.PLACE) is None
    ticket.answered(Usage(10, 1, None))
    assert bucket.take(Lane.PLACE) is not None
    assert bucket.take(Lane.PLACE) is None


def test_a_bucket_gives_its_limit_and_then_waits_a_window_after_the_answer() -> None:
    clock = VirtualClock(0)
    bucket = known(PLACE, clock)
    tickets = [bucket.take(Lane.PLACE) for _ in range(10)]
    assert bucket.take(Lane.PLACE) is None
    clock.advance_to(300)
    for ticket in tickets:
        assert ticket is not None
        ticket.answered()
    assert bucket.seconds() == pytest.approx(1.0)
    clock.advance_to(1_299)
    assert bucket.take(Lane.PLACE) is None
    clock.advance_to(1_300)
    assert bucket.room(Lane.PLACE) == 10


def test_the_last_lane_leaves_a_part_of_a_shared_bucket() -> None:
    bucket = known(Rule(10, 1_000, shared=True), VirtualClock(0))
    assert [bucket.take(Lane.PLACE) is not None for _ in range(9)] == [True] * 8 + [False]
    assert bucket.take(Lane.RECONCILE) is not None
    assert bucket.take(Lane.CANCEL) is not None
    assert bucket.take(Lane.CANCEL) is None


def test_a_refusal_closes_the_bucket_until_the_time_it_names() -> None:
    clock = VirtualClock(1_000_000_000_000)
    bucket = known(CANCEL, clock)
    ticket = bucket.take(Lane.CANCEL)
    assert ticket is not None
    ticket.answered(Usage(200, 0, clock.now() + 4_000), refused=True)
    assert bucket.take(Lane.CANCEL) is None
    assert bucket.seconds() == pytest.approx(4.0)
    clock.advance_to(clock.now() + 4_000)
    assert bucket.take(Lane.CANCEL) is not None


@pytest.mark.parametrize("reset", [None, 5, 1 << 50])
def test_a_refusal_that_names_no_sensible_time_closes_it_for_a_window(reset: int | None) -> None:
    clock = VirtualClock(1_000_000_000_000)
    bucket = known(PLACE, clock)
    ticket = bucket.take(Lane.PLACE)
    assert ticket is not None
    ticket.answered(Usage(10, 0, reset), refused=True)
    assert bucket.seconds() == pytest.approx(1.0)


def test_what_the_venue_counts_replaces_our_own_count() -> None:
    clock = VirtualClock(0)
    bucket = known(PLACE, clock)
    for _ in range(8):
        earlier = bucket.take(Lane.PLACE)
        assert earlier is not None
        earlier.answered()
    clock.advance_to(100)
    ticket = bucket.take(Lane.PLACE)
    assert ticket is not None
    clock.advance_to(110)
    ticket.answered(Usage(10, 9, None))  # a new window began there: this was its first request
    assert bucket.room(Lane.PLACE) == 9


def test_requests_of_somebody_else_count_as_well() -> None:
    clock = VirtualClock(0)
    bucket = known(PLACE, clock)
    ticket = bucket.take(Lane.PLACE)
    assert ticket is not None
    ticket.answered(Usage(10, 2, None))
    assert bucket.room(Lane.PLACE) == 2


def test_what_was_under_way_is_not_forgotten_whatever_the_venue_had_counted() -> None:
    clock = VirtualClock(0)
    bucket = known(PLACE, clock)
    tickets = [bucket.take(Lane.PLACE) for _ in range(5)]
    assert tickets[0] is not None
    tickets[0].answered(Usage(10, 9, None))  # the others may have reached it after that
    assert bucket.room(Lane.PLACE) == 5


def test_the_limit_of_a_better_customer_is_believed() -> None:
    bucket = known(PLACE, VirtualClock(0))
    ticket = bucket.take(Lane.PLACE)
    assert ticket is not None
    ticket.answered(Usage(100, 99, None))
    assert bucket.room(Lane.PLACE) == 99


async def test_cancels_go_before_reads_and_reads_before_the_rest() -> None:
    time = Time()
    limiter, rule = Limiter(time.clock, sleep=time.sleep), Rule(2, 1_000)
    order: list[str] = []

    async def ask(name: str, lane: Lane) -> None:
        ticket = await limiter.wait("x", rule, lane)
        order.append(name)
        ticket.answered()

    async def work() -> None:
        (await limiter.wait("x", rule, Lane.PLACE)).answered()
        first = [await limiter.wait("x", rule, Lane.PLACE) for _ in range(2)]
        lanes = [("place", Lane.PLACE), ("read", Lane.RECONCILE), ("cancel", Lane.CANCEL)]
        asks = [asyncio.create_task(ask(name, lane)) for name, lane in lanes * 2]
        await asyncio.sleep(0)
        for ticket in first:
            ticket.answered()
        await asyncio.gather(*asks)

    await time.run(asyncio.create_task(work()))
    assert order == ["cancel", "cancel", "read", "read", "place", "place"]


@pytest.mark.parametrize("seed", range(20))
async def test_no_window_of_the_venue_ever_holds_too_many(seed: int) -> None:
    """Requests in bursts with random delays there and back, against the simulator's count."""
    chance = random.Random(seed)
    time = Time()
    venue = RateLimits(time.clock.now)
    limiter = Limiter(time.clock, sleep=time.sleep)

    async def request(told: bool) -> None:
        ticket = await limiter.wait("x", PLACE, Lane.PLACE)
        await time.sleep(chance.random() * 0.3)
        usage = venue.count(("x",), VenueRule(PLACE.limit, PLACE.window))
        await time.sleep(chance.random() * 0.3)
        ticket.answered(Usage(usage.limit, usage.remain, usage.reset) if told else None)

    async def work() -> None:
        asks = []
        for _ in range(60):
            asks.append(asyncio.create_task(request(chance.random() < 0.8)))
            if chance.random() < 0.3:
                await time.sleep(chance.random() * 0.4)
        await asyncio.gather(*asks)

    await time.run(asyncio.create_task(work()))
    assert venue.violations == 0


def test_an_order_is_admitted_once_and_its_ticket_is_not_lost() -> None:
    clock = VirtualClock(0)
    limiter = Limiter(clock)
    assert limiter.admit("x", PLACE, "first") == 0.0
    first = limiter.admitted("first")
    assert first is not None
    first.answered()
    clock.advance_to(1_000)
    assert [limiter.admit("x", PLACE, f"order {number}") for number in range(10)] == [0.0] * 10
    assert limiter.admit("x", PLACE, "order 0") == 0.0
    assert limiter.admit("x", PLACE, "order 10") > 0
    ticket = limiter.admitted("order 0")
    assert ticket is not None
    assert limiter.admitted("order 0") is None
    ticket.answered()
    clock.advance_to(2_000)
    assert limiter.admit("x", PLACE, "order 10") == 0.0
    clock.advance_to(12_001)  # nobody sent the others: their tickets serve somebody else
    assert limiter.admit("x", PLACE, "order 11") == 0.0
    assert limiter.admitted("order 1") is None


def test_both_spellings_of_the_headers_are_read() -> None:
    rest = {"X-Gate-RateLimit-Requests-Remain": "7", "X-Gate-RateLimit-Limit": "10"}
    rest |= {"X-Gate-RateLimit-Reset-Timestamp": "1700000000"}
    assert read_usage(rest) == Usage(10, 7, 1_700_000_000_000)
    stream = {"x_gate_ratelimit_requests_remain": "7", "x_gate_ratelimit_limit": "10"}
    stream |= {"x_gat_ratelimit_reset_timestamp": "1700000000123"}
    assert read_usage(stream) == Usage(10, 7, 1_700_000_000_123)
    assert read_usage({"Content-Type": "text/html"}) is None
    assert read_usage({"X-Gate-RateLimit-Limit": "many", "X-Gate-RateLimit-Requests-Remain": "1"}) == Usage(None, 1)


def test_requests_count_where_gate_counts_them() -> None:
    pair = {"currency_pair": "BTC_USDT"}
    assert limit_of("POST", "orders", pair, "a")[:2] == ("a:place:BTC_USDT", PLACE)
    assert limit_of("PATCH", "orders/17", pair, "a")[:2] == ("a:place:BTC_USDT", PLACE)
    for path in ("orders", "orders/17"):
        assert limit_of("DELETE", path, pair, "a") == ("a:cancel", CANCEL, Lane.CANCEL)
    assert limit_of("GET", "orders/17", pair, "a") == ("a:GET:orders/*", PRIVATE, Lane.RECONCILE)
    assert limit_of("GET", "open_orders", {}, "a") == ("a:GET:open_orders", PRIVATE, Lane.RECONCILE)
    assert limit_of("POST", "countdown_cancel_all", {}, "a")[2] is Lane.CANCEL
    found = limit_of("GET", "candlesticks", pair, "gate", private=False)
    assert found == ("gate:public:candlesticks", PUBLIC, Lane.PLACE)
