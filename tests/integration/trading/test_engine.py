"""Intents become orders, orders become fills, fills become books: once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.errors import Conflict, UsageError
from cashup.exchanges.paper import PaperExchange
from cashup.exchanges.paper_venue import PaperVenue
from cashup.orders.journal import FenceLost
from cashup.trading.desks import Desks
from cashup.trading.digest import digest
from cashup.trading.funding import Funding
from cashup.trading.intents import parse_request
from cashup.trading.loading import load_free
from cashup.trading.mailbox import News
from cashup.types import OrderRequest, OrderType, Side, Trade
from tests.integration.trading.conftest import BTC, ETH, Desk, Prices, deploy, open_desk, until


async def test_buys_what_the_target_asks_for(desk: Desk) -> None:
    answer = await desk.submit(1, {BTC: 0.5})
    assert (answer["state"], answer["decisions"][0]["code"]) == ("buying", "allowed")
    processed = await desk.processed(1)
    order = (await desk.rows("SELECT * FROM orders"))[0]
    assert (order["state"], order["cost"], order["traded"]) == ("filled", Decimal(5000), Decimal("0.1"))
    assert (Decimal(processed["cash"]), processed["positions"]) == (5000, {BTC: "0.0999"})
    book = (await desk.rows("SELECT * FROM books"))[0]
    assert (book["cash"], book["reserved"], book["targets"]) == (Decimal(5000), Decimal(0), {BTC: "0.5"})
    await desk.check()


async def test_sells_before_it_buys(desk: Desk) -> None:
    await desk.submit(1, {BTC: 1.0})
    await desk.processed(1)
    await desk.submit(2, {BTC: 0.0, ETH: 1.0})
    await desk.processed(2)
    orders = await desk.rows("SELECT side, symbol, spent FROM orders ORDER BY created_at")
    assert [(row["side"], row["symbol"]) for row in orders] == [("buy", BTC), ("sell", BTC), ("buy", ETH)]
    assert orders[2]["spent"] > Decimal(9970)  # the buy had the money of the sell
    await desk.check()


async def test_a_bar_without_orders_is_processed(desk: Desk) -> None:
    await desk.submit(1, {BTC: 0.0, ETH: None})
    processed = await desk.processed(1)
    assert (processed["equity"], processed["orders"]) == ("10000", [])
    assert [row["equity"] for row in await desk.rows("SELECT equity FROM equity")] == [Decimal(10_000)]
    await desk.check()


async def test_a_repeated_intent_does_nothing(desk: Desk) -> None:
    first = await desk.submit(1, {BTC: 0.5, ETH: 0.25})
    again = await asyncio.gather(*(desk.submit(1, {ETH: 0.25, BTC: 0.50}) for _ in range(5)))
    await desk.processed(1)
    assert all(answer["orders"] == first["orders"] for answer in again)
    assert all(answer["decisions"] == first["decisions"] for answer in again)
    assert len(await desk.rows("SELECT 1 FROM orders")) == 2
    await desk.check()


async def test_the_same_key_with_another_body_conflicts(desk: Desk) -> None:
    await desk.submit(1, {BTC: 0.5})
    with pytest.raises(Conflict, match="other targets"):
        await desk.submit(1, {BTC: 0.6})
    with pytest.raises(Conflict, match="other targets"):
        await desk.submit(2, {BTC: 0.5}, key="1")
    with pytest.raises(Conflict, match="later bar"):
        await desk.submit(0, {BTC: 0.5})
    await desk.processed(1)
    await desk.submit(2, {BTC: 0.5})  # the refusals have changed nothing
    await desk.processed(2)
    assert len(await desk.rows("SELECT 1 FROM orders")) == 1
    await desk.check()


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"BTCUSDT": 0.5}, "did you mean BTC/USDT"),
        ({"SOL/USDT": 0.5}, "does not trade SOL/USDT"),
        ({"BTC/USDT": "NaN"}, "finite"),
        ({"BTC/USDT": "1E+5"}, "sensible"),
        ({"BTC/USDT": "0." + "1" * 40}, "sensible"),
        ({"BTC/USDT": True}, "give a number"),
        ({}, "has targets"),
    ],
)
async def test_nonsense_is_refused_and_not_stored(desk: Desk, targets: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        await desk.submit(1, targets)
    assert await desk.rows("SELECT 1 FROM intents") == []


async def test_risk_explains_itself(desk: Desk) -> None:
    answer = await desk.submit(1, {BTC: -0.5, ETH: 0.0001})
    codes = {(decision["symbol"], decision["action"], decision["code"]) for decision in answer["decisions"]}
    assert codes == {(BTC, "deny", "negative_target"), (ETH, "deny", "below_minimum")}
    await desk.processed(1)
    await desk.check()


async def test_only_the_newest_attempt_is_heard(desk: Desk) -> None:
    with pytest.raises(FenceLost):
        await desk.submit(1, {BTC: 0.5}, fence=0)
    assert await desk.rows("SELECT 1 FROM intents UNION ALL SELECT 1 FROM orders") == []
    await desk.submit(1, {BTC: 0.5}, fence=1)
    await desk.processed(1)
    await desk.check()


async def test_an_intent_waits_for_the_one_before(desk: Desk) -> None:
    answers = await asyncio.gather(desk.submit(1, {BTC: 0.5}), desk.submit(2, {BTC: 0.0}), desk.submit(3, {BTC: 0.7}))
    assert [answer["state"] for answer in answers] == ["buying", "planned", "planned"]
    await desk.processed(3)
    order = await desk.rows("SELECT side, intent FROM orders ORDER BY created_at, client_order_id")
    assert [(row["side"], row["intent"]) for row in order] == [("buy", "1"), ("sell", "2"), ("buy", "3")]
    await desk.check()


async def test_an_intent_waits_for_a_price(desk: Desk, marks: Prices) -> None:
    price = marks.prices.pop(ETH)
    submitted = asyncio.create_task(desk.submit(1, {ETH: 0.5}))
    await asyncio.sleep(0)
    assert not submitted.done()
    marks.prices[ETH] = price
    assert len((await submitted)["orders"]) == 1
    await desk.processed(1)
    await desk.check()


async def test_two_deployments_share_an_account(desk: Desk, database: AsyncEngine) -> None:
    await deploy(database, "other")
    await desk.engine.fund("main", Funding("other", Decimal(5_000), "USDT", {"limits": {"max_order_notional": "1000"}}))
    await desk.engine.submit("other", 1, parse_request("1", 1, {BTC: 1}))
    await desk.submit(1, {BTC: 1.0})
    await desk.processed(1)
    await desk.processed(1, "other")
    books = await desk.rows("SELECT deployment, cash FROM books ORDER BY 1")
    assert [(row["deployment"], row["cash"]) for row in books] == [("demo", 0), ("other", 4000)]
    await desk.check()


async def test_somebody_elses_trade_is_booked_to_the_account(desk: Desk, venue: PaperVenue) -> None:
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    exchange = desk.exchange
    await exchange.place(OrderRequest("web", BTC, Side.SELL, OrderType.MARKET, quantity=Decimal("0.1")))

    async def booked() -> object:
        return await desk.rows("SELECT 1 FROM fills WHERE deployment IS NULL")

    await until(booked)
    await desk.check()
    external = (await desk.rows("SELECT * FROM orders WHERE origin = 'external'"))[0]
    assert (external["symbol"], external["state"]) == (BTC, "filled")


async def test_a_fee_in_a_third_asset_is_taken_from_what_is_free_at_once(
    database: AsyncEngine, venue: PaperVenue, marks: Prices
) -> None:
    """It is the account's, so what a deployment may be given of that asset shrinks with the fill."""
    await deploy(database)
    exchange = PaperExchange(venue, venue.open_account({"USDT": Decimal(25_000), "GT": Decimal(10)}))
    desk = await open_desk(database, exchange, marks)
    (ident,) = (await desk.place("1", symbol=BTC, side="buy", quantity="0.1", price="40000"))["orders"]
    theirs = (await desk.order(ident, "open"))["exchange_order_id"]
    fill = Trade("g1", theirs, ident, BTC, Side.BUY, Decimal(40_000), Decimal("0.1"), Decimal("0.5"), "GT", 1)
    stranger = replace(fill, trade_id="g2", exchange_order_id="77", client_order_id=None, time=1 << 42)

    async def learn(desks: Desks) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
        await digest(desks, [News([fill, stranger], cause="stream")])
        async with database.connect() as connection:
            return dict(desks.free), await load_free(connection, "main")

    in_memory, in_tables = await (await desk.engine.actor("main")).call(learn)
    await desk.engine.stop()
    assert in_memory == in_tables
    assert in_memory["GT"] == 9
