"""The story of an order of every fate, from the tables alone."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.errors import NotFound, UsageError
from cashup.exchanges.paper_venue import PaperAccount, PaperVenue
from cashup.trading import views
from cashup.trading.explain import explain
from cashup.trading.profit import profit_of, valued_positions
from cashup.types import OrderRequest, OrderType, Side
from tests.integration.trading.conftest import BTC, Desk, until
from tests.integration.trading.simulated import Simulated, simulated


@pytest.fixture
async def real(database: AsyncEngine) -> AsyncIterator[Simulated]:
    """A desk that trades through Gate's adapter."""
    async with simulated(database) as desk:
        yield desk


async def ids(desk: Desk) -> list[str]:
    return [row["client_order_id"] for row in await desk.rows("SELECT client_order_id FROM orders ORDER BY created_at")]


def kinds(story: dict[str, Any]) -> list[str]:
    return [step["kind"] for step in story["steps"]]


def steps(story: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [step for step in story["steps"] if step["kind"] == kind]


def assert_in_order(story: dict[str, Any]) -> None:
    times = [step["at"] for step in story["steps"]]
    assert times == sorted(times)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert [step["after_ms"] for step in story["steps"]] == [0, *gaps]


async def test_a_filled_order_from_its_bar_to_its_ledger_entries(real: Simulated) -> None:
    await real.submit(1, {BTC: 0.5}, key="first")
    await real.processed(1)
    (ident,) = await ids(real)
    story = await explain(real.database, ident)
    assert_in_order(story)
    assert set(kinds(story)) == {
        *("bar", "intent", "plan", "risk", "order", "request", "answer", "frame", "fill", "ledger", "audit")
    }
    (request,), (answer,) = steps(story, "request"), steps(story, "answer")
    assert f'"text":"{ident}"' in request["detail"]["request"]
    assert hashlib.sha256(request["detail"]["request"].encode()).hexdigest() == request["detail"]["request_sha256"]
    assert (answer["detail"]["status"], answer["detail"]["result"]) == (201, "accepted")
    assert ident in answer["detail"]["body"]
    assert story["hashes"]["requests"] == [request["detail"]["request_sha256"]]
    assert story["hashes"]["answers"] == [answer["detail"]["body_sha256"]]
    assert all(value >= 0 for value in story["latencies"].values() if value is not None)
    assert story["latencies"]["sent_to_answer"] == answer["at"] - request["at"]
    entries = [entry for step in steps(story, "ledger") for entry in step["detail"]["entries"]]
    sums: dict[str, Decimal] = {}
    for entry in entries:
        sums[entry["asset"]] = sums.get(entry["asset"], Decimal(0)) + entry["amount"]
    assert set(sums.values()) == {Decimal(0)}
    assert story["summary"].startswith("demo: buy BTC for 5000 USDT, market ioc: filled, 0.1 BTC filled")


async def test_an_order_is_found_by_its_ids_and_by_how_they_begin(desk: Desk) -> None:
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    await desk.submit(2, {BTC: 0.0})
    await desk.processed(2)
    (row, _) = await desk.rows("SELECT client_order_id, exchange_order_id FROM orders ORDER BY created_at")
    for name in (row["client_order_id"], row["exchange_order_id"], row["client_order_id"][:20]):
        assert (await explain(desk.database, name))["order"]["client_order_id"] == row["client_order_id"]
    with pytest.raises(UsageError, match="more than one order begins with t-"):
        await explain(desk.database, "t-")
    for nothing in ("t-9", "", "%", "_"):
        with pytest.raises(NotFound, match="there is no order"):
            await explain(desk.database, nothing)


async def test_an_order_that_was_never_placed_shows_the_proof(faulty: Desk) -> None:
    faulty.exchange.lose_orders = 1
    await faulty.submit(1, {BTC: 0.5})
    await faulty.processed(1)
    story = await explain(faulty.database, (await ids(faulty))[0])
    assert_in_order(story)
    assert story["order"]["state"] == "not_placed"
    assert steps(story, "answer")[0]["summary"] == "classified as unknown: timeout"
    last = steps(story, "order")[-1]
    assert last["summary"] == "proven absent by resolver (proof): unknown -> not_placed"
    assert len(last["detail"]["evidence"]["scans"]) == 2
    assert steps(story, "fill") == []


async def test_an_order_that_the_venue_refused_says_why(desk: Desk, paper_account: PaperAccount) -> None:
    paper_account.credit("USDT", Decimal(-21_000))  # somebody took the money, and nobody has noticed yet
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    story = await explain(desk.database, (await ids(desk))[0])
    assert story["order"]["state"] == "rejected"
    assert "BALANCE_NOT_ENOUGH" in steps(story, "answer")[0]["summary"]


async def test_a_cancelled_and_an_amended_order_show_each_request(real: Simulated) -> None:
    body = {"symbol": BTC, "side": "buy", "type": "limit", "quantity": "0.1", "price": "40000"}
    ident = (await real.place("bid", **body))["orders"][0]
    await real.order(ident, "open")
    await real.amend("lower", ident, price="39000")
    await real.concluded("lower")
    await real.cancel("enough", ident)
    await real.order(ident, "cancelled")
    story = await explain(real.database, ident)
    assert_in_order(story)
    verbs = [step["summary"].split(" it ")[0].removeprefix("the request to ") for step in steps(story, "request")]
    assert verbs == ["place", "amend", "cancel"]
    assert [step["detail"]["kind"] for step in steps(story, "intent")] == ["order", "amend", "cancel"]
    assert {step["detail"]["status"] for step in steps(story, "answer")} <= {200, 201}


async def test_somebody_elses_order_has_a_story(desk: Desk, paper_account: PaperAccount) -> None:
    paper_account.place(OrderRequest("web", BTC, Side.SELL, OrderType.MARKET, quantity=Decimal("0.1")))

    async def filled() -> Any:
        return await desk.rows("SELECT 1 FROM orders WHERE origin = 'external' AND state = 'filled'")

    await until(filled)
    story = await explain(desk.database, "external-")
    assert_in_order(story)
    assert story["summary"].startswith("somebody else: sell")
    assert {"order", "frame", "fill", "ledger"} == set(kinds(story))


async def test_running_balances_end_at_what_is_held(desk: Desk) -> None:
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    await desk.submit(2, {BTC: 0.2})
    await desk.processed(2)
    rows = await views.list_ledger(desk.database, "demo")
    last = {(row["kind"], row["asset"]): row["balance"] for row in rows}
    book = (await desk.rows("SELECT cash, reserved FROM books"))[0]
    held = (await desk.rows("SELECT quantity FROM positions"))[0]["quantity"]
    assert (last["cash", "USDT"], last["reserved", "USDT"]) == (book["cash"], book["reserved"])
    assert last["position", "BTC"] == held
    newest = await views.list_ledger(desk.database, account="main", limit=3)
    assert len(newest) == 3
    assert newest[-1]["balance"] == (await views.list_ledger(desk.database, account="main"))[-1]["balance"]


async def test_profit_is_realised_and_unrealised_to_the_last_digit(desk: Desk, venue: PaperVenue) -> None:
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    desk.marks.prices[BTC] = Decimal(51_234)
    venue.move(BTC, Decimal(51_234))
    await desk.submit(2, {BTC: 0.2})
    await desk.processed(2)

    def mark(account: str, symbol: str) -> Decimal:
        return Decimal("51777.7")

    found = await profit_of(desk.database, mark, "demo")
    assert found is not None
    assert found["profit"] == found["realised"] + found["unrealised"] == found["equity"] - found["capital"]
    assert (found["unpriced"], found["fees_of_the_account"], found["net"]) == ([], Decimal(0), found["profit"])
    (position,) = await valued_positions(desk.database, mark)
    assert position["unrealised"] == position["quantity"] * Decimal("51777.7") - position["cost"]
    blind = await profit_of(desk.database, lambda account, symbol: None, "demo")
    assert blind is not None
    assert (blind["profit"], blind["unpriced"]) == (None, [BTC])
    assert await profit_of(desk.database, mark, "nobody") is None
