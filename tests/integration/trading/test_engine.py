"""Intents become orders, orders become fills, fills become books: once."""

from __future__ import annotations

from decimal import Decimal

from tests.integration.trading.conftest import BTC, Desk


async def test_buys_what_the_target_asks_for(desk: Desk) -> None:
    answer = await desk.submit(1, {BTC: 0.5})
    assert answer["state"] == "buying"
    processed = await desk.processed(1)
    order = (await desk.rows("SELECT * FROM orders"))[0]
    assert (order["state"], order["cost"], order["traded"]) == ("filled", Decimal(5000), Decimal("0.1"))
    assert processed["positions"] == {BTC: "0.0999"}
    book = (await desk.rows("SELECT * FROM books"))[0]
    assert (book["cash"], book["reserved"], book["targets"]) == (Decimal(5000), Decimal(0), {BTC: "0.5"})
    await desk.check()
