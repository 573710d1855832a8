"""The stock ccxt.pro client trades on the simulator; only its addresses, keys and the expiry header are set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cashup.clock import WallClock
from cashup.exchanges.ccxt_adapter import point_at
from cashup.simulator.server import Simulator

PAIR = "BTC/USDT"
HOUR = 3_600_000
START = 1_735_689_600_000


@pytest.fixture
async def stock(simulator: Simulator) -> AsyncIterator[Any]:
    """A client as anybody would make it."""
    from decimal import Decimal

    import ccxt.pro

    account = simulator.venue.accounts.create("stock", {"USDT": Decimal(1000), "BTC": Decimal(2)})
    client = ccxt.pro.gate({"apiKey": account.key, "secret": account.secret})
    point_at(client, simulator.url)
    client.headers = {"x-gate-exptime": str(WallClock().now() + 60_000)}
    yield client
    await client.close()


async def test_lists_markets_prices_and_bars(stock: Any) -> None:
    markets = await stock.load_markets()
    assert list(markets) == [PAIR]
    assert markets[PAIR]["precision"] == {"amount": 0.00001, "price": 0.1}
    assert markets[PAIR]["limits"]["cost"]["min"] == 3
    assert (await stock.fetch_ticker(PAIR))["last"] == 100
    assert (await stock.fetch_order_book(PAIR))["bids"][0][0] == 99.9
    assert abs(await stock.fetch_time() - WallClock().now()) < 5_000
    bars = await stock.fetch_ohlcv(PAIR, "1h", since=START - 2 * HOUR)
    assert [(bar[0], bar[4]) for bar in bars] == [(START - 2 * HOUR, 98), (START - HOUR, 99), (START, 100)]
    assert (await stock.fetch_ohlcv(PAIR, "1h", limit=1))[0][0] == START


async def test_places_cancels_and_queries_orders(stock: Any) -> None:
    bought = await stock.create_order(PAIR, "market", "buy", 0, None, {"cost": 100, "clientOrderId": "t-bought"})
    assert (bought["status"], bought["clientOrderId"], bought["average"]) == ("closed", "t-bought", 100)
    sold = await stock.create_order(PAIR, "market", "sell", 0.5)
    assert (sold["status"], sold["filled"]) == ("closed", 0.5)
    resting = await stock.create_order(PAIR, "limit", "buy", 2, 95)
    assert [order["id"] for order in await stock.fetch_open_orders(PAIR)] == [resting["id"]]
    assert (await stock.fetch_order(resting["id"], PAIR))["status"] == "open"
    assert (await stock.fetch_balance())["USDT"] == {"free": 759.95, "used": 190.0, "total": 949.95}
    assert (await stock.cancel_order(resting["id"], PAIR))["status"] == "canceled"
    assert await stock.fetch_open_orders(PAIR) == []
    closed = await stock.fetch_closed_orders(PAIR)
    assert {order["id"] for order in closed} == {bought["id"], sold["id"], resting["id"]}
    trades = await stock.fetch_my_trades(PAIR)
    assert [(trade["side"], trade["amount"], trade["fee"]["currency"]) for trade in trades] == [
        ("buy", 1, "BTC"),
        ("sell", 0.5, "USDT"),
    ]
    assert (await stock.fetch_trading_fee(PAIR))["taker"] == 0.001


async def test_amends_orders_and_cancels_many_at_once(stock: Any) -> None:
    first = await stock.create_order(PAIR, "limit", "buy", 1, 95)
    amended = await stock.edit_order(first["id"], PAIR, "limit", "buy", 2, 96)
    assert (amended["id"], amended["amount"], amended["price"], amended["remaining"]) == (first["id"], 2, 96, 2)
    assert (await stock.fetch_balance())["USDT"]["used"] == 192
    orders = [
        {"symbol": PAIR, "type": "limit", "side": "buy", "amount": 1, "price": price, "params": {"text": f"t-{price}"}}
        for price in (91, 92, 93)
    ]
    made = await stock.create_orders(orders)
    assert [order["price"] for order in made] == [91, 92, 93]
    assert len(await stock.cancel_orders([made[0]["id"], made[1]["id"]], PAIR)) == 2
    assert {order["price"] for order in await stock.fetch_open_orders(PAIR)} == {93, 96}
    assert len(await stock.cancel_all_orders(PAIR)) == 2
    assert await stock.fetch_open_orders(PAIR) == []


async def test_an_amendment_that_crosses_trades(stock: Any) -> None:
    order = await stock.create_order(PAIR, "limit", "sell", 1, 120)
    amended = await stock.edit_order(order["id"], PAIR, "limit", "sell", 1, 99)
    assert (amended["status"], amended["average"], amended["filled"]) == ("closed", 100, 1)


async def test_arms_the_countdown_and_reads_the_account(stock: Any, simulator: Simulator) -> None:
    armed = await stock.privateSpotPostCountdownCancelAll({"timeout": 30, "currency_pair": "BTC_USDT"})
    assert int(armed["triggerTime"]) == simulator.venue.countdowns.next
    assert await stock.privateSpotPostCountdownCancelAll({"timeout": 0, "currency_pair": "BTC_USDT"})
    await stock.create_order(PAIR, "market", "sell", 0.5)
    book = await stock.privateSpotGetAccountBook({"currency": "USDT"})
    assert [(row["type"], row["change"], row["balance"]) for row in book] == [("order-match", "49.95", "1049.95")]
    assert (await stock.privateAccountGetDetail())["key"]["mode"] == 1
    assert (await stock.privateAccountGetRateLimit())[0]["type"] == "spot"
    assert (await stock.privateSpotGetBatchFee({"currency_pairs": "BTC_USDT"}))["BTC_USDT"]["taker_fee"] == "0.001"


async def test_is_told_why_an_order_is_refused(stock: Any) -> None:
    import ccxt

    with pytest.raises(ccxt.InsufficientFunds):
        await stock.create_order(PAIR, "limit", "buy", 100, 95)
    with pytest.raises(ccxt.OrderImmediatelyFillable):
        await stock.create_order(PAIR, "limit", "buy", 1, 105, {"postOnly": True})
    with pytest.raises(ccxt.OrderNotFound):
        await stock.fetch_order("999999", PAIR)
    with pytest.raises(ccxt.BadSymbol):
        await stock.fetch_ticker("DOGE/USDT")


async def test_a_fence_in_the_past_is_refused(stock: Any) -> None:
    import ccxt

    stock.headers = {"x-gate-exptime": str(WallClock().now() - 1)}
    with pytest.raises(ccxt.AuthenticationError, match="REQUEST_EXPIRED"):
        await stock.create_order(PAIR, "market", "sell", 0.5)
    assert await stock.public_spot_get_time()


async def test_streams_bars_trades_and_prices(stock: Any, simulator: Simulator) -> None:
    async with asyncio.timeout(20):
        assert (await stock.watch_ohlcv(PAIR, "1h"))[-1][:2] == [START, 100]
        following = asyncio.gather(stock.watch_trades(PAIR), stock.watch_ticker(PAIR))
        await simulator.streams.followed("spot.trades", "spot.tickers")
        simulator.control.step({})
        trades, ticker = await following
        assert (trades[-1]["price"], ticker["last"]) == (100, 90)
        bars = await stock.watch_ohlcv(PAIR, "1h")
        while bars[-1][0] == START:
            bars = await stock.watch_ohlcv(PAIR, "1h")
        assert bars[-1][:2] == [START + HOUR, 90]


async def test_streams_its_own_orders_trades_and_balances(stock: Any, simulator: Simulator) -> None:
    await stock.load_markets()
    async with asyncio.timeout(20):
        following = asyncio.gather(stock.watch_orders(PAIR), stock.watch_my_trades(), stock.watch_balance())
        await simulator.streams.followed("spot.orders", "spot.usertrades", "spot.balances")
        placed = await stock.create_order(PAIR, "market", "sell", 0.5, params={"clientOrderId": "t-mine"})
        orders, trades, balance = await following
    assert [(order["id"], order["clientOrderId"], order["status"]) for order in orders] == [
        (placed["id"], "t-mine", "closed")
    ]
    assert (trades[0]["order"], trades[0]["amount"], trades[0]["fee"]["cost"]) == (placed["id"], 0.5, 0.05)
    assert balance["USDT"]["free"] == 1049.95
