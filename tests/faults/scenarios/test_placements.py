"""What can become of the answer to a placement, and what that proves."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from tests.faults.scenarios.bench import BTC, CROSSING, PATIENCE, TIMEOUT, Bench, plain
from tests.integration.trading.conftest import until

pytestmark = pytest.mark.faults

LATE = PATIENCE.fence / 1000 + 0.5
"""Seconds after which a request is behind its fence."""


async def _not_placed(bench: Bench, ident: str) -> None:
    """The order was proven absent, after its fence, and never sent again."""
    order = await bench.order(ident, "not_placed")
    first, second = order["evidence"]["scans"]
    assert first >= order["send_before"] + PATIENCE.margin
    assert second >= first + PATIENCE.apart
    assert order["reserved"] == 0
    assert len(bench.writes("place")) == 1
    assert bench.venue_orders() == 0
    await bench.at_rest()
    bench.scenario.seen(
        f"{await bench.path(ident)}; two clean scans behind the fence; 1 request, 0 orders on the venue, "
        f"{plain(order['reserved'])} USDT reserved."
    )


async def _one_open(bench: Bench, ident: str) -> None:
    """The order rests on the venue, once, and is known to."""
    order = await bench.order(ident, "open")
    assert order["exchange_order_id"] is not None
    assert len(bench.writes("place")) == 1
    assert bench.venue_orders() == bench.resting() == 1
    await _cancelled_at_rest(bench, ident)
    bench.scenario.seen(f"{await bench.path(ident)} (by its owner); 1 request, 1 order on the venue.")


async def _cancelled_at_rest(bench: Bench, ident: str) -> None:
    bench.heal()
    await bench.cancel("end", ident)
    await bench.order(ident, "cancelled")
    await bench.at_rest()


async def test_scenario_01_lost_before_the_venue(bench: Bench) -> None:
    """A placement times out and never reached the venue.

    UNKNOWN until its fence has passed and two clean scans found nothing; then NOT_PLACED, its money free again, and
    nothing is sent a second time.
    """
    bench.fault("no_answer", what="place", done=False)
    ident = await bench.placed()
    await bench.reached(ident, "unknown")
    assert (await bench.order(ident))["reserved"] > 0
    await _not_placed(bench, ident)


async def test_scenario_02_lost_after_it_rests(bench: Bench) -> None:
    """A placement times out, and the order rests.

    Found by its client id and OPEN; one order on the venue.
    """
    bench.silence()
    bench.fault("no_answer", what="place")
    ident = await bench.placed()
    await bench.reached(ident, "unknown")
    await _one_open(bench, ident)


async def test_scenario_03_lost_after_it_filled(bench: Bench) -> None:
    """A placement times out, and the order filled at once, so that its client id is not found any more.

    Found among the finished orders and the trades, booked, FILLED.
    """
    bench.silence()
    bench.fault("no_answer", what="place")
    ident = await bench.placed(**CROSSING)
    await bench.reached(ident, "unknown")
    order = await bench.order(ident, "filled")
    assert await bench.exchange.find_order(BTC, ident) is None
    assert (len(bench.writes("place")), await bench.count("fills")) == (1, 1)
    await bench.at_rest()
    bench.scenario.seen(f"{await bench.path(ident)}; {plain(order['traded'])} BTC booked as 1 fill; 1 request.")


async def test_scenario_04_late_behind_its_fence(bench: Bench) -> None:
    """A placement is under way for longer than its fence allows.

    The venue refuses it when it arrives; the resolver comes to NOT_PLACED.
    """
    bench.fault("late_request", what="place", seconds=LATE)
    ident = await bench.placed()
    await bench.reached(ident, "unknown")

    async def arrived() -> bool:
        return bool(bench.writes("place"))

    await until(arrived)
    (write,) = bench.writes("place")
    assert (write.label, write.effect) == ("REQUEST_EXPIRED", False)
    bench.scenario.seen(f"The venue said {write.label}.")
    await _not_placed(bench, ident)


async def test_scenario_05_late_but_in_time(bench: Bench) -> None:
    """A placement arrives late, but before its fence, and nobody waits for the answer any more.

    As if the answer were lost: found, OPEN or FILLED, one order on the venue.
    """
    bench.silence()
    bench.fault("late_request", what="place", seconds=TIMEOUT + 0.3)
    ident = await bench.placed()
    await bench.reached(ident, "unknown")
    await _one_open(bench, ident)


async def test_scenario_06_bad_gateway_after_the_effect(bench: Bench) -> None:
    """A placement is answered with a 502 page, although it was done.

    UNKNOWN, and then what it really is.
    """
    bench.silence()
    bench.fault("wall_after", what="place", status=502)
    ident = await bench.placed()
    await bench.reached(ident, "unknown")
    await _one_open(bench, ident)


async def test_scenario_07_firewall(bench: Bench) -> None:
    """A firewall answers a placement with a 400 page that has no label.

    UNKNOWN, not rejected: a status without a label proves nothing.
    """
    bench.fault("wall_before", what="place", status=400)
    ident = await bench.placed()
    await bench.reached(ident, "unknown")
    assert "rejected" not in await bench.path(ident)
    await _not_placed(bench, ident)


async def test_scenario_08_too_many_requests(bench: Bench) -> None:
    """A placement is answered with 429.

    REJECTED and not sent again by itself; the next one waits until the venue's window is over, cancels do not.
    """
    resting = await bench.resting_order()
    bench.fault("too_many", what="place", seconds=3.0)
    refused = await bench.placed()
    await bench.order(refused, "rejected")
    (row,) = await bench.rows("SELECT at FROM order_events WHERE to_state = 'rejected'")
    waiting = await bench.placed()
    assert (await bench.order(waiting))["state"] == "pending_send"
    await bench.cancel("c", resting)
    await bench.order(resting, "cancelled")
    assert (await bench.order(waiting))["state"] == "pending_send"
    waited = (await bench.order(waiting, "open"))["claimed_at"] - row["at"]
    assert waited >= 2_000
    assert len(bench.writes("place")) == 3
    await _cancelled_at_rest(bench, waiting)
    bench.scenario.seen(
        f"{await bench.path(refused)}, sent once; a cancel went through while the next order waited, more than "
        "2 s until the window was over."
    )


async def test_scenario_09_unreadable(bench: Bench) -> None:
    """A placement is answered with 201 and a body that cannot be read.

    UNKNOWN, found by its client id.
    """
    bench.silence()
    bench.fault("unreadable_answer", what="place")
    ident = await bench.placed()
    await bench.reached(ident, "unknown")
    await _one_open(bench, ident)


async def test_scenario_10_unknown_label(bench: Bench) -> None:
    """A placement is refused with a label that is on no list, although it was done.

    UNKNOWN, with an error in the log and the label on record; then what it really is.
    """
    bench.silence()
    bench.fault("strange_label", what="place", done=True)
    with capture_logs() as log:
        ident = await bench.placed()
        await bench.reached(ident, "unknown")
    (row,) = await bench.rows("SELECT detail FROM order_events WHERE to_state = 'unknown'")
    assert row["detail"]["label"] == "SOMETHING_NEW"
    assert any(line["log_level"] == "error" and line.get("label") == "SOMETHING_NEW" for line in log)
    bench.scenario.seen(f"The label {row['detail']['label']} is in the log and in the order's history.")
    await _one_open(bench, ident)


async def test_scenario_11_acknowledged_only(bench: Bench) -> None:
    """A placement is only acknowledged (202), the connections break, and it is never carried out.

    UNKNOWN: an acknowledgement is not acceptance. Then NOT_PLACED.
    """
    bench.silence()
    bench.fault("lost_effect", what="place")
    ident = await bench.placed()
    bench.fault("disconnect")
    await bench.reached(ident, "unknown")
    await _not_placed(bench, ident)


async def test_scenario_12_frame_before_answer(bench: Bench) -> None:
    """The frames of a fill arrive before the answer to the placement.

    Bound to the order by its client id and booked at once; the answer changes nothing.
    """
    bench.fault("frame_first", what="place", seconds=0.5)
    ident = await bench.placed(**CROSSING)
    await bench.order(ident, "filled")
    answered = "SELECT 1 FROM order_events WHERE cause = 'answer'"
    known = "SELECT state, traded, spent, fees, reserved, reason FROM orders"
    assert await bench.rows(answered) == []
    before = await bench.rows(known)
    await bench.happened(answered)
    assert await bench.rows(known) == before
    assert (bench.venue_orders(), await bench.count("fills")) == (1, 1)
    await bench.at_rest()
    bench.scenario.seen(f"{await bench.path(ident)} before the answer came; 1 order, 1 fill, also after it.")
