"""The simulated venue: money is neither made nor lost, whatever its customers do."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cashup.clock import VirtualClock
from cashup.exchanges.rules import gate_market
from cashup.simulator.notices import Notice
from cashup.simulator.orders import SimOrder
from cashup.simulator.refusals import Refusal
from cashup.simulator.tape import Tape
from cashup.simulator.venue import Venue
from cashup.strategies.bars import Bars
from cashup.types import OrderRequest, OrderType, Side, Symbol, TimeInForce

BTC = Symbol("BTC/USDT")
START = 1_735_689_600_000
HOUR = 3_600_000


def venue_of(bars: list[tuple[float, float, float, float]]) -> Venue:
    values = np.array([[*bar, 5.0] for bar in bars]).T.reshape(5, len(bars), 1)
    tape = Tape(Bars(START + HOUR * np.arange(len(bars)), [BTC], "1h", values))
    return Venue(tape, {BTC: gate_market(BTC)}, start=START, clock=VirtualClock(START))


def market_order(side: Side, amount: str) -> OrderRequest:
    given = {"cost": Decimal(amount)} if side is Side.BUY else {"quantity": Decimal(amount)}
    return OrderRequest("t-m", BTC, side, OrderType.MARKET, **given)


def limit_order(side: Side, quantity: str, price: str, tif: TimeInForce = TimeInForce.GTC) -> OrderRequest:
    return OrderRequest(
        "t-l", BTC, side, OrderType.LIMIT, quantity=Decimal(quantity), price=Decimal(price), time_in_force=tif
    )


def test_a_market_buy_gets_whole_lots_and_pays_its_fee_in_what_it_bought() -> None:
    venue = venue_of([(300, 300, 300, 300)] * 2)
    account = venue.accounts.create("a", {"USDT": Decimal(1000)})
    order = venue.place(account, market_order(Side.BUY, "100"), "t-m")
    assert (order.match.filled, order.match.spent) == (Decimal("0.33333"), Decimal("99.999"))
    assert account.balances()["BTC"].available == Decimal("0.33333") * Decimal("0.999")
    assert account.balances()["USDT"].available == Decimal("900.001")
    assert account.balances()["USDT"].reserved == 0


def test_a_resting_order_meets_the_whole_range_of_its_bar() -> None:
    venue = venue_of([(100, 105, 95, 104), (104, 104, 104, 104)])
    account = venue.accounts.create("a", {"USDT": Decimal(1000), "BTC": Decimal(1)})
    low, high = (
        venue.place(account, limit_order(*given), "t-l") for given in ((Side.BUY, "1", "96"), (Side.SELL, "1", "105"))
    )
    missed = venue.place(account, limit_order(Side.BUY, "1", "94.9"), "t-l")
    assert account.balances()["USDT"].reserved == Decimal("190.9")
    venue.step()
    assert [order.status for order in (low, high, missed)] == ["closed", "closed", "open"]
    assert (low.average, high.average) == (Decimal(96), Decimal(105))
    assert account.balances()["USDT"].reserved == Decimal("94.9")


def test_a_taker_trades_at_the_best_price_and_what_rests_keeps_price_then_time() -> None:
    venue = venue_of([(100, 100, 100, 100)] * 2)
    early, late, dear = (venue.accounts.create(name, {"USDT": Decimal(1000)}) for name in ("early", "late", "dear"))
    taker = venue.accounts.create("taker", {"BTC": Decimal(2)})
    orders = [
        venue.place(account, limit_order(Side.BUY, "1", price), "t-l")
        for account, price in ((early, "90"), (late, "90"), (dear, "91"))
    ]
    sold = venue.place(taker, limit_order(Side.SELL, "2", "90"), "t-l")
    # The replayed market pays 100, more than any order that rests.
    assert sold.average == Decimal(100)
    assert all(order.status == "open" for order in orders)
    assert [order.id for order in venue.book(BTC)] == [order.match.id for order in orders]


def test_private_records_come_as_balances_trades_order() -> None:
    venue = venue_of([(100, 100, 100, 100)] * 2)
    told: list[Notice] = []
    venue.notify = told.extend
    account = venue.accounts.create("a", {"USDT": Decimal(1000)})
    venue.place(account, market_order(Side.BUY, "100"), "t-m")
    channels = [notice.channel for notice in told]
    assert channels == ["spot.balances", "spot.balances", "spot.usertrades", "spot.orders"]
    assert told[-1].record["event"] == "finish"
    assert {notice.record["currency"]: notice.record["change"] for notice in told[:2]} == {
        "BTC": "0.999",
        "USDT": "-100",
    }


def test_the_end_of_the_tape_closes_the_market() -> None:
    venue = venue_of([(100, 100, 100, 100), (101, 102, 101, 102)])
    account = venue.accounts.create("a", {"USDT": Decimal(1000)})
    assert [candle.open for candle in venue.step().opened] == [Decimal(101)]
    assert venue.open_time == START + HOUR
    step = venue.step()
    assert (step.opened, venue.halted, venue.open_time, venue.closed_time) == ([], True, None, START + HOUR)
    assert venue.price(BTC) == Decimal(102)
    assert venue.step().closed == []
    with pytest.raises(Refusal, match="replay has ended"):
        venue.place(account, market_order(Side.BUY, "100"), "t-m")


def test_a_client_id_may_come_twice_and_finds_the_newest_pending_order() -> None:
    venue = venue_of([(100, 100, 100, 100)] * 2)
    account = venue.accounts.create("a", {"USDT": Decimal(1000)})
    venue.place(account, limit_order(Side.BUY, "1", "50"), "t-twice")
    second = venue.place(account, limit_order(Side.BUY, "1", "51"), "t-twice")
    assert venue.find(account, "BTC_USDT", "t-twice") is second
    venue.end(second)
    assert venue.find(account, "BTC_USDT", "t-twice") is not second


class Customers(RuleBasedStateMachine):
    """Three customers trade and cancel on a moving market; the sums are checked after every move."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(7)
        closes = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.05, 60))), 1)
        opens = np.r_[100.0, closes[:-1]]
        spread = np.abs(rng.normal(0, 3, 60)).round(1)
        bars = zip(opens, np.maximum(opens, closes) + spread, np.minimum(opens, closes) - spread, closes, strict=True)
        self.venue = venue_of([tuple(bar) for bar in bars])
        self.accounts = [
            self.venue.accounts.create(f"c{number}", {"USDT": Decimal(10_000), "BTC": Decimal(10)})
            for number in range(3)
        ]
        self.orders: list[SimOrder] = []

    @rule(who=st.integers(0, 2), side=st.sampled_from(Side), amount=st.decimals("0.1", "60", places=1))
    def market(self, who: int, side: Side, amount: Decimal) -> None:
        size = str(amount * 100) if side is Side.BUY else str(amount / 10)
        self.place(who, market_order(side, size))

    @rule(
        who=st.integers(0, 2),
        side=st.sampled_from(Side),
        quantity=st.decimals("0.1", "20", places=3),
        price=st.decimals("60", "160", places=1),
        tif=st.sampled_from(TimeInForce),
    )
    def limit(self, who: int, side: Side, quantity: Decimal, price: Decimal, tif: TimeInForce) -> None:
        self.place(who, limit_order(side, str(quantity), str(price), tif))

    def place(self, who: int, request: OrderRequest) -> None:
        before = self.accounts[who].balances()
        try:
            self.orders.append(self.venue.place(self.accounts[who], request, "t-x"))
        except Refusal:
            assert self.accounts[who].balances() == before

    @precondition(lambda self: any(not order.match.done for order in self.orders))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        order = data.draw(st.sampled_from([order for order in self.orders if not order.match.done]))
        self.venue.end(order)
        assert order.status == "cancelled"

    @precondition(lambda self: any(not order.match.done for order in self.orders))
    @rule(
        data=st.data(),
        quantity=st.decimals("0.1", "20", places=3),
        price=st.decimals("60", "160", places=1),
    )
    def amend(self, data: st.DataObject, quantity: Decimal, price: Decimal) -> None:
        order = data.draw(st.sampled_from([order for order in self.orders if not order.match.done]))
        before, filled = order.account.balances(), order.match.filled
        try:
            self.venue.amend(order.account, order, quantity, price)
        except Refusal:
            assert order.account.balances() == before
            return
        assert order.match.filled >= filled
        assert quantity < filled or order.match.quantity == quantity

    @rule(depth=st.sampled_from([None, Decimal("0.5"), Decimal(3)]))
    def deepen(self, depth: Decimal | None) -> None:
        self.venue.set_depth(BTC, depth)

    @rule()
    def step(self) -> None:
        self.venue.step()

    @invariant()
    def nothing_is_made_or_lost(self) -> None:
        for currency, deposited in self.venue.accounts.deposits.items():
            held = sum((a.balances()[currency].total for a in self.accounts if currency in a.balances()), Decimal(0))
            pool, fees = self.venue.pool.get(currency, Decimal(0)), self.venue.fees.get(currency, Decimal(0))
            assert held + pool + fees == deposited

    @invariant()
    def what_is_locked_is_what_orders_hold(self) -> None:
        for account in self.accounts:
            for currency, holding in account.holdings.items():
                held = sum((o.locked for o in self.venue.resting(account) if o.lock_currency == currency), Decimal(0))
                assert holding.locked == held
                assert holding.available >= 0

    @invariant()
    def what_was_told_of_balances_adds_up(self) -> None:
        for account in self.accounts:
            for currency, holding in account.holdings.items():
                changes = [change for change in self.venue.changes[account.uid] if change.currency == currency]
                start = {"USDT": Decimal(10_000), "BTC": Decimal(10)}[currency]
                assert start + sum(change.change for change in changes) == holding.available + holding.locked
                assert sum(change.freeze_change for change in changes) == holding.locked

    @invariant()
    def an_order_is_the_sum_of_its_trades(self) -> None:
        for order in self.orders:
            fills = [trade.fill for trade in self.venue.trades if trade.order is order]
            assert sum((fill.quantity for fill in fills), Decimal(0)) == order.match.filled
            assert sum((fill.fee for fill in fills), Decimal(0)) == order.fee


Customers.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestCustomers = Customers.TestCase
