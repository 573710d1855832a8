"""A paper account on a venue's public data does what the venue itself does, to the last digit.

One tape, one stream of orders: once through Gate's adapter and the simulator's books, once on a paper account that only
hears what the simulator tells everybody.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from cashup.clock import WallClock
from cashup.exchanges.base import Exchange
from cashup.exchanges.gate import Credentials, GateExchange
from cashup.exchanges.rules import gate_market
from cashup.simulator.server import Simulator
from cashup.simulator.tape import Tape
from cashup.simulator.venue import Venue
from cashup.strategies.bars import Bars
from cashup.types import Millis, OrderReport, OrderRequest, OrderType, SendResult, Side, TimeInForce, Trade
from tests.contract.conftest import BTC, HOUR, START, LivePaperBench

BARS = 80


def bars(seed: int) -> Bars:
    """A random walk of one per cent, with wicks, on Gate's ticks."""
    generator = np.random.default_rng(seed)
    closes = np.round(100 * np.exp(np.cumsum(generator.normal(0, 0.01, BARS))), 1)
    opens = np.round(np.concatenate([[100.0], closes[:-1]]) + generator.choice([-0.2, 0.0, 0.3], BARS), 1)
    highs = np.round(np.maximum(opens, closes) + generator.exponential(0.4, BARS), 1)
    lows = np.round(np.minimum(opens, closes) - generator.exponential(0.4, BARS), 1)
    values = np.stack([opens, highs, lows, closes, np.full(BARS, 7.0)]).reshape(5, BARS, 1)
    return Bars(START + HOUR * np.arange(-2, BARS - 2), [BTC], "1h", values)


@pytest.fixture(params=[1, 2, 3])
async def pair(
    request: pytest.FixtureRequest, database_url: str, redis_url: str
) -> AsyncIterator[tuple[LivePaperBench, GateExchange, random.Random]]:
    """The paper account, and an account with the same deposit on the venue itself."""
    simulator = Simulator(Venue(Tape(bars(request.param)), {BTC: gate_market(BTC)}, start=START), rate_limit=False)
    await simulator.start()
    paper = LivePaperBench(simulator, database_url, redis_url)
    customer = simulator.venue.accounts.create("twin", paper.deposit)
    real = GateExchange(Credentials(customer.key, customer.secret), base_url=simulator.url)
    yield paper, real, random.Random(request.param)
    await real.close()
    await paper.close()


def an_order(number: int, price: Decimal, chance: random.Random) -> OrderRequest:
    text, side = f"t-{number:026d}", chance.choice(list(Side))
    if chance.random() < 0.3:
        amount = {"cost": Decimal(chance.randint(40, 4000)) / 10} if side is Side.BUY else {}
        amount = amount or {"quantity": Decimal(chance.randint(1, 80_000)) / 100_000}
        return OrderRequest(text, BTC, side, OrderType.MARKET, **amount)
    how = {"price": price + Decimal(chance.randint(-20, 20)) / 10, "time_in_force": chance.choice(list(TimeInForce))}
    quantity = Decimal(chance.randint(1, 90_000)) / 100_000
    return OrderRequest(text, BTC, side, OrderType.LIMIT, quantity=quantity, **how)


async def stand(exchange: Exchange, since: Millis) -> dict[str, Any]:
    """What an account has and has done, without the venue's own ids and times."""
    trades = [_trade(trade) for trade in await exchange.trades(BTC, since)]
    resting = [_report(report) for report in await exchange.open_orders()]
    # A real venue has no record of an order that it refused at the entry.
    ended = [r for r in await exchange.finished_orders(BTC, since, since + HOUR) if r.reason not in {"poc", "fok"}]
    return {
        "balances": dict(await exchange.balances()),
        "trades": sorted(trades),
        "resting": sorted(resting),
        "ended": sorted(map(_report, ended)),
    }


def _trade(trade: Trade) -> tuple[Any, ...]:
    return trade.client_order_id, trade.side, trade.price, trade.quantity, trade.fee, trade.fee_currency


def _report(report: OrderReport) -> tuple[Any, ...]:
    return report.client_order_id, report.side, report.filled, report.done, report.reason, report.average_price or 0


def _sent(sent: SendResult) -> tuple[Any, ...]:
    return sent.result, sent.label, _report(sent.report) if sent.report and sent.report.reason not in _REFUSED else None


_REFUSED = {"poc", "fok"}


async def change(paper: Exchange, real: Exchange, order: OrderReport, chance: random.Random) -> None:
    """Cancel or amend an order on both."""
    (mine,) = [report for report in await paper.open_orders() if report.client_order_id == order.client_order_id]
    ids = ((paper, mine.exchange_order_id), (real, order.exchange_order_id))
    if chance.random() < 0.4:
        answers = [await exchange.cancel(BTC, ident) for exchange, ident in ids]
    else:
        terms: dict[str, Any] = {}
        if chance.random() < 0.7:
            terms["price"] = (order.price or Decimal(100)) + Decimal(chance.randint(-15, 15)) / 10
        if chance.random() < 0.5 or not terms:
            terms["quantity"] = Decimal(chance.randint(1, 90_000)) / 100_000
        answers = [await exchange.amend(BTC, ident, **terms) for exchange, ident in ids]
    assert _sent(answers[0]) == _sent(answers[1]), (order, answers)


async def test_the_same_orders_on_the_same_tape_come_to_the_same(
    pair: tuple[LivePaperBench, GateExchange, random.Random],
) -> None:
    paper, real, chance = pair
    number, filled_resting, since = 0, 0, WallClock().now()
    while not paper.simulator.venue.halted:
        for _ in range(chance.randint(0, 3)):
            number += 1
            order = an_order(number, paper.simulator.venue.price(BTC), chance)
            ours, theirs = await paper.exchange.place(order), await real.place(order)
            assert (ours.result, _sent(ours)[2]) == (theirs.result, _sent(theirs)[2]), order
        resting = {report.client_order_id: report for report in await real.open_orders()}
        if resting and chance.random() < 0.6:
            await change(paper.exchange, real, resting[chance.choice(sorted(resting))], chance)
        before = len(await paper.exchange.trades(BTC, since))
        await paper.advance()
        assert await stand(paper.exchange, since) == await stand(real, since)
        filled_resting += len(await paper.exchange.trades(BTC, since)) - before
    assert number > 20
    assert filled_resting > 3, "the tape must fill orders that rest"
