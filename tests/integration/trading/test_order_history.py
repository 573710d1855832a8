"""Every step of every order is on record, in the commit that made it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from cashup.types import OrderRequest, OrderType, Side, TimeInForce
from tests.integration.trading.conftest import BTC, Desk, until


async def history(desk: Desk, origin: str = "cashup") -> list[dict[str, Any]]:
    query = "SELECT e.*, o.origin FROM order_events e JOIN orders o USING (client_order_id) ORDER BY e.id"
    return [dict(row) for row in await desk.rows(query) if row["origin"] == origin]


async def test_each_step_names_its_actor_and_its_cause(desk: Desk) -> None:
    await desk.submit(1, {BTC: 0.5}, key="first")
    await desk.processed(1)
    steps = await history(desk)
    created, claimed, *learnt = steps
    assert (created["event"], created["actor"], created["cause"]) == ("created", "attempt 1 of demo", "intent first")
    assert (created["from_state"], created["to_state"]) == (None, "pending_send")
    assert (claimed["event"], claimed["actor"], claimed["to_state"]) == ("claimed", "engine", "sending")
    assert claimed["detail"]["send_before"] > claimed["at"]
    assert {step["event"] for step in learnt} >= {"traded", "answered"}
    assert learnt[-1]["to_state"] == "filled"
    traded = next(step for step in learnt if step["event"] == "traded")
    assert (traded["cause"], len(traded["detail"]["frames"]), traded["detail"]["quantity"]) == ("stream", 1, "0.1")
    await desk.check()


async def test_an_answer_is_kept_with_its_times(faulty: Desk) -> None:
    faulty.exchange.lose_answers = 1
    await faulty.submit(1, {BTC: 0.5})
    await faulty.processed(1)
    answered = next(step for step in await history(faulty) if step["event"] == "answered")
    assert (answered["detail"]["result"], answered["detail"]["message"]) == ("unknown", "connection reset")
    assert answered["detail"]["sent_at"] <= answered["detail"]["answered_at"] <= answered["at"]
    await faulty.check()


async def test_a_proof_of_absence_is_kept(faulty: Desk) -> None:
    faulty.exchange.lose_orders = 1
    await faulty.submit(1, {BTC: 0.5})
    await faulty.processed(1)
    proof = next(step for step in await history(faulty) if step["event"] == "proven_absent")
    assert (proof["actor"], proof["from_state"], proof["to_state"]) == ("resolver", "unknown", "not_placed")
    assert len(proof["detail"]["evidence"]["scans"]) == 2
    await faulty.check()


async def test_somebody_elses_order_has_a_history_too(desk: Desk) -> None:
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    request = OrderRequest(
        "t-web", BTC, Side.SELL, OrderType.LIMIT, quantity=Decimal("0.1"), price=Decimal(60_000),
        time_in_force=TimeInForce.GTC,
    )  # fmt: skip
    placed = await desk.exchange.place(request)
    assert placed.report is not None

    async def state(wanted: str) -> object:
        rows = await desk.rows("SELECT * FROM orders WHERE origin = 'external'")
        return [row for row in rows if row["state"] == wanted]

    row = (await until(lambda: state("open")))[0]
    assert (row["type"], row["price"], row["quantity"]) == ("limit", Decimal(60_000), Decimal("0.1"))
    await desk.exchange.cancel(BTC, placed.report.exchange_order_id)
    await until(lambda: state("cancelled"))
    steps = await history(desk, "external")
    assert [(step["from_state"], step["to_state"]) for step in steps] == [
        (None, "open"),
        ("open", "open"),
        ("open", "cancelled"),
    ]
    assert steps[0]["detail"]["text"] == "t-web"
    await desk.check()
