"""What happens while nobody listens, what the venue says late, and what somebody else does on the account."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.errors import ExchangeTransient, Unavailable
from cashup.exchanges.base import Connected, Disconnected
from cashup.exchanges.paper import PaperExchange
from cashup.exchanges.paper_venue import PaperAccount, PaperVenue
from cashup.types import Balance, Frame, Millis, OrderReport, OrderRequest, OrderType, Side, Symbol, TimeInForce, Trade
from tests.integration.trading.conftest import BTC, ETH, QUICK, Desk, Prices, deploy, open_desk, until
from tests.integration.trading.test_reconciliation import restarted


class TestVenue(PaperExchange):
    """A paper account whose stream can be cut, and whose lists can be late, broken or forgetful."""

    __test__ = False

    def __init__(self, venue: PaperVenue, account: PaperAccount) -> None:
        super().__init__(venue, account)
        self.requests: Counter[str] = Counter()
        self.up = asyncio.Event()
        self.up.set()
        self.cut = asyncio.Event()
        self.late: Mapping[str, Balance] | None = None
        self.forgotten: set[str] = set()
        self.ghosts: list[OrderReport] = []
        self.broken = 0
        self.silent = False

    async def watch_account(self) -> AsyncIterator[Frame | Connected | Disconnected]:
        while True:
            await self.up.wait()
            queue, stop = self.account.listen()
            yield Connected()
            try:
                while not self.cut.is_set():
                    frame, cut = asyncio.ensure_future(queue.get()), asyncio.ensure_future(self.cut.wait())
                    await asyncio.wait({frame, cut}, return_when=asyncio.FIRST_COMPLETED)
                    cut.cancel()
                    if frame.done() and not self.silent:
                        yield frame.result()
                    frame.cancel()
            finally:
                stop()
            self.cut.clear()
            yield Disconnected("cut")

    def disconnect(self) -> None:
        self.up.clear()
        self.cut.set()

    async def balances(self) -> Mapping[str, Balance]:
        self.requests["balances"] += 1
        return self.late if self.late is not None else await super().balances()

    async def open_orders(self) -> Sequence[OrderReport]:
        self.requests["open"] += 1
        shown = [r for r in await super().open_orders() if r.exchange_order_id not in self.forgotten]
        return [*shown, *self.ghosts]

    async def finished_orders(self, symbol: Symbol, since: Millis, until: Millis) -> Sequence[OrderReport]:
        self.requests["finished"] += 1
        return [
            r for r in await super().finished_orders(symbol, since, until) if r.exchange_order_id not in self.forgotten
        ]

    async def fetch_order(self, symbol: Symbol, exchange_order_id: str) -> OrderReport | None:
        self.requests["fetch"] += 1
        return None if exchange_order_id in self.forgotten else await super().fetch_order(symbol, exchange_order_id)

    async def trades(self, symbol: Symbol, since: Millis) -> Sequence[Trade]:
        self.requests["trades"] += 1
        if self.broken:
            self.broken -= 1
            raise ExchangeTransient("page 2 of 3 failed")
        return await super().trades(symbol, since)


@pytest.fixture
async def watched(
    database: AsyncEngine, venue: PaperVenue, paper_account: PaperAccount, marks: Prices
) -> AsyncIterator[Desk]:
    await deploy(database)
    desk = await open_desk(database, TestVenue(venue, paper_account), marks)
    yield desk
    await desk.engine.stop()


def toys(desk: Desk) -> TestVenue:
    assert isinstance(desk.exchange, TestVenue)
    return desk.exchange


def by_hand(side: Side, quantity: str, price: str | None = None, symbol: Symbol = BTC, text: str = "web") -> Any:
    """An order that somebody places on the venue's web site."""
    kind = OrderType.MARKET if price is None else OrderType.LIMIT
    amount = {"cost": Decimal(quantity)} if price is None and side is Side.BUY else {"quantity": Decimal(quantity)}
    tif = TimeInForce.IOC if price is None else TimeInForce.GTC
    return OrderRequest(
        text, symbol, side, kind, price=None if price is None else Decimal(price), time_in_force=tif, **amount
    )


async def state(desk: Desk, wanted: str) -> object:
    return [row for row in await desk.rows("SELECT * FROM account_leases") if row["state"] == wanted]


async def reconnected(desk: Desk) -> None:
    toys(desk).up.set()
    await until(lambda: state(desk, "ready"))


async def test_31_what_filled_while_the_stream_was_down_is_booked_once_and_in_order(
    watched: Desk, paper_account: PaperAccount
) -> None:
    await watched.submit(1, {BTC: 0.5})
    await watched.processed(1)
    toys(watched).disconnect()
    await until(lambda: state(watched, "reconciling"))
    for _ in range(40):
        paper_account.place(by_hand(Side.SELL, "0.001"))
    await reconnected(watched)
    rows = await watched.rows("SELECT trade_id FROM fills WHERE deployment IS NULL ORDER BY id")
    ids = [int(row["trade_id"]) for row in rows]
    assert len(ids) == 40
    assert ids == sorted(ids)
    ended = await watched.rows("SELECT state FROM orders WHERE origin = 'external'")
    assert [row["state"] for row in ended] == ["filled"] * 40
    await watched.check()


async def test_nothing_is_sent_while_the_stream_is_down(watched: Desk) -> None:
    toys(watched).disconnect()
    await until(lambda: state(watched, "reconciling"))
    asked = asyncio.create_task(watched.submit(1, {BTC: 0.5}))
    await asyncio.sleep(0.5)  # longer than a turn: there is no event for what must not happen
    assert await watched.rows("SELECT 1 FROM orders") == []
    await reconnected(watched)
    await asked
    await watched.processed(1)
    await watched.check()


async def test_32_a_reconnect_during_the_backfill_converges(watched: Desk, paper_account: PaperAccount) -> None:
    await watched.submit(1, {BTC: 0.5})
    await watched.processed(1)
    toys(watched).disconnect()
    await until(lambda: state(watched, "reconciling"))
    for _ in range(10):
        paper_account.place(by_hand(Side.SELL, "0.001"))
    toys(watched).broken = 1
    toys(watched).up.set()
    await until(lambda: _true(toys(watched).broken == 0))
    toys(watched).disconnect()
    await asyncio.sleep(0.05)
    await reconnected(watched)
    assert len(await watched.rows("SELECT 1 FROM fills WHERE deployment IS NULL")) == 10
    await watched.check()


async def test_34_an_incomplete_list_concludes_nothing(watched: Desk) -> None:
    await watched.submit(1, {BTC: 0.5})
    await watched.processed(1)
    surveyed = (await watched.rows("SELECT surveyed_at FROM account_leases"))[0]["surveyed_at"]
    await watched.engine.stop()
    toys(watched).broken = 1_000
    again = await restarted(watched)
    await until(lambda: _true(toys(watched).broken < 999))
    row = (await again.rows("SELECT state, surveyed_at FROM account_leases"))[0]
    assert (row["state"], row["surveyed_at"]) == ("reconciling", surveyed)
    toys(watched).broken = 0
    await again.engine.ready("main")
    await again.check()
    await again.engine.stop()


async def test_35_balances_that_lag_neither_block_nor_correct(watched: Desk) -> None:
    before = await PaperExchange.balances(toys(watched))
    await watched.submit(1, {BTC: 0.5})
    await watched.processed(1)
    await watched.engine.stop()
    toys(watched).late = dict(before)
    again = await restarted(watched)
    seen = toys(watched).requests["balances"]
    await until(lambda: _true(toys(watched).requests["balances"] > seen + 1))
    assert await state(again, "reconciling")
    toys(watched).late = None
    await again.engine.ready("main")
    assert await again.rows("SELECT 1 FROM ledger_entries WHERE kind = 'suspense'") == []
    await again.check()
    await again.engine.stop()


async def test_29_an_order_by_hand_is_adopted_follows_its_updates_and_stays(
    watched: Desk, venue: PaperVenue, paper_account: PaperAccount
) -> None:
    await watched.submit(1, {BTC: 0.5})
    await watched.processed(1)
    await watched.engine.stop()
    placed = paper_account.place(by_hand(Side.SELL, "0.1", "55000"))
    assert placed.report is not None
    again = await restarted(watched)
    await again.engine.ready("main")
    row = (await again.rows("SELECT * FROM orders WHERE origin = 'external'"))[0]
    assert (row["state"], row["price"], row["deployment"]) == ("open", Decimal(55_000), None)
    await again.engine.stop()
    venue.move(BTC, Decimal(55_000))  # it fills while nobody looks
    again = await restarted(again)
    await again.engine.ready("main")
    row = (await again.rows("SELECT * FROM orders WHERE origin = 'external'"))[0]
    assert (row["state"], row["traded"]) == ("filled", Decimal("0.1"))
    await again.check()
    await again.engine.stop()


async def test_what_a_silent_stream_keeps_to_itself_is_found_while_running(
    database: AsyncEngine, venue: PaperVenue, paper_account: PaperAccount, marks: Prices
) -> None:
    await deploy(database)
    patience = replace(QUICK, survey=500, quiet=100)
    desk = await open_desk(database, TestVenue(venue, paper_account), marks, patience=patience)
    await desk.submit(1, {BTC: 0.5})
    await desk.processed(1)
    toys(desk).silent = True
    paper_account.place(by_hand(Side.SELL, "0.01"))

    async def booked() -> object:
        return await desk.rows("SELECT 1 FROM fills WHERE deployment IS NULL")

    await until(booked)
    assert await state(desk, "ready")
    await desk.check()
    await desk.engine.stop()


async def test_a_deposit_while_running_is_noticed(
    database: AsyncEngine, venue: PaperVenue, paper_account: PaperAccount, marks: Prices
) -> None:
    await deploy(database)
    patience = replace(QUICK, survey=500, quiet=100)
    desk = await open_desk(database, TestVenue(venue, paper_account), marks, patience=patience)
    paper_account.credit("USDT", Decimal(5))
    row = (await until(lambda: state(desk, "blocked")))[0]
    assert "(5 more)" in row["message"]
    assert row["comparison"]["differences"][0]["cause"].startswith("a deposit")
    assert row["comparison"]["cause"] == "running"
    await desk.engine.stop()


async def test_a_start_costs_pages_and_not_orders(
    watched: Desk, venue: PaperVenue, paper_account: PaperAccount
) -> None:
    for number in range(300):
        paper_account.place(by_hand(Side.SELL, "0.001", str(60_000 + number)))

    async def noted() -> object:
        return len(await watched.rows("SELECT 1 FROM orders WHERE state = 'open'")) == 300

    await until(noted)
    await watched.engine.stop()
    venue.move(BTC, Decimal(60_149))  # half of them fill while nobody looks
    toys(watched).requests.clear()
    again = await restarted(watched)
    await again.engine.ready("main")
    assert len(await again.rows("SELECT 1 FROM fills")) == 150
    assert toys(watched).requests["fetch"] == 0
    assert sum(toys(watched).requests.values()) < 10
    await again.check()
    await again.engine.stop()


async def test_a_trade_in_a_market_never_looked_at_is_found_by_its_asset(
    watched: Desk, paper_account: PaperAccount
) -> None:
    await watched.submit(1, {BTC: 0.5})
    await watched.processed(1)
    await watched.engine.stop()
    paper_account.place(by_hand(Side.BUY, "100", symbol=ETH))
    again = await restarted(watched)
    await again.engine.ready("main")
    assert len(await again.rows("SELECT 1 FROM fills WHERE symbol = 'ETH/USDT' AND deployment IS NULL")) == 1
    await again.check()
    await again.engine.stop()


async def test_62_one_client_id_twice_on_the_venue_is_booked_twice_and_halts(
    watched: Desk, paper_account: PaperAccount
) -> None:
    await watched.submit(1, {BTC: 0.5})
    await watched.processed(1)
    ident = (await watched.rows("SELECT client_order_id FROM orders"))[0]["client_order_id"]
    paper_account.place(by_hand(Side.BUY, "100", text=ident))
    row = (await until(lambda: state(watched, "blocked")))[0]
    assert "the venue shows two orders" in row["message"]
    assert ident in row["message"]
    fills = await watched.rows("SELECT deployment FROM fills ORDER BY id")
    assert [row["deployment"] for row in fills] == ["demo", None]
    halts = await watched.rows("SELECT scope, code, state FROM halts")
    assert [tuple(row.values()) for row in halts] == [("account", "contradiction", "halted")]


async def test_an_order_the_venue_has_forgotten_blocks_until_it_is_accepted_as_gone(
    watched: Desk, paper_account: PaperAccount
) -> None:
    placed = paper_account.place(by_hand(Side.SELL, "0.1", "60000"))
    assert placed.report is not None

    async def noted() -> object:
        return await watched.rows("SELECT 1 FROM orders WHERE state = 'open'")

    await until(noted)
    await watched.engine.stop()
    toys(watched).forgotten.add(placed.report.exchange_order_id)
    again = await restarted(watched)
    with pytest.raises(Unavailable, match="does not know order external-"):
        await again.engine.ready("main")
    shown = (await again.rows("SELECT comparison FROM account_leases"))[0]["comparison"]
    assert (shown["clean"], shown["cause"]) == (False, "start")
    assert [(d["venue"], d["books"]) for d in shown["differences"]] == [("unknown", "open")]
    await again.engine.accept_difference("main", "ann")
    await again.engine.ready("main")
    row = (await again.rows("SELECT state, reason FROM orders"))[0]
    assert (row["state"], row["reason"]) == ("cancelled", "accepted as gone by ann")
    step = (await again.rows("SELECT actor, cause FROM order_events ORDER BY id DESC LIMIT 1"))[0]
    assert tuple(step.values()) == ("ann", "accepted difference")
    await again.engine.stop()


async def test_an_order_that_rests_although_it_ended_blocks_until_the_list_is_true(watched: Desk) -> None:
    await watched.submit(1, {BTC: 0.5})
    await watched.processed(1)
    row = (await watched.rows("SELECT * FROM orders"))[0]
    await watched.engine.stop()
    ghost = OrderReport(
        row["client_order_id"], row["exchange_order_id"], BTC, Side.BUY, Decimal(0), False, "open", row["updated_at"]
    )
    toys(watched).ghosts.append(ghost)
    again = await restarted(watched)
    with pytest.raises(Unavailable, match=r"shows as resting order t-.*, which is filled in the books"):
        await again.engine.ready("main")
    await again.engine.stop()
    toys(watched).ghosts.clear()
    again = await restarted(again)
    await again.engine.ready("main")
    await again.check()
    await again.engine.stop()


async def _true(value: bool) -> bool:
    return value
