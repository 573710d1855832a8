"""Each check of an order is seen to allow, to shrink where it can, and to deny."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cashup.exchanges.rules import gate_market, ideal_market
from cashup.trading.risk import (
    Action,
    Allowance,
    Draft,
    Exposure,
    Limits,
    Lock,
    Margin,
    Quoted,
    Resting,
    Situation,
    Standing,
    TradingState,
    check_order,
)
from cashup.types import OrderType, Side, Symbol, TimeInForce

D = Decimal
BTC, ETH = Symbol("BTC/USDT"), Symbol("ETH/USDT")
GATE = gate_market(BTC)
MARK = D(50_000)


def buy(cost: str = "1000", **more: Any) -> Draft:
    return Draft(BTC, Side.BUY, MARK, D("0.1"), cost=D(cost), **more)


def sell(quantity: str = "0.02", **more: Any) -> Draft:
    return Draft(BTC, Side.SELL, MARK, quantity=D(quantity), **more)


def limit(side: Side, price: str, quantity: str = "0.02") -> Draft:
    adds = side is Side.BUY
    return Draft(BTC, side, MARK, quantity=D(quantity), price=D(price), adds=adds, time_in_force=TimeInForce.GTC)


def held(value: str = "0", equity: str = "10000", buys: str = "0", other: str = "0") -> Exposure:
    return Exposure(D(equity), {BTC: D(value), ETH: D(other)}, {BTC: D(buys)})


def within(exposure: Exposure | None = None, recent: int = 0, open_: int = 0, **limits: Any) -> Standing:
    allowance = Allowance("deployment demo", Limits.model_validate(limits), exposure or held(), recent, open_)
    return Standing((allowance,))


def judge(draft: Draft, standing: Standing = Standing(), **more: Any) -> tuple[str, str, Decimal | None]:  # noqa: B008
    """The last decision's action and code, and what the order is worth that may be sent."""
    allowed, decisions = check_order(draft, Situation(GATE, more.pop("cash", D(10_000)), standing=standing, **more))
    assert (allowed is None) == (decisions[-1].action is Action.DENY)
    assert all(decision.reason and decision.symbol == BTC for decision in decisions)
    return decisions[0].action.value, decisions[0].code, None if allowed is None else allowed.value


ALLOWED = ("allow", "allowed", D(1000))
REDUCING = Standing(state=TradingState.REDUCING, why="a daily loss of 6 %")
HALTED = Standing(state=TradingState.HALTED, why="killed by ann")


def quoted(age: int | None = None, close: str | None = None, stale_after: int | None = None, **limits: Any) -> Standing:
    standing = within(**limits)
    allowance = replace(standing.allowances[0], stale_after=stale_after)
    return replace(standing, allowances=(allowance,), quoted={BTC: Quoted(age, None if close is None else D(close))})


def resting(*orders: tuple[Side, str | None]) -> Standing:
    return Standing(resting={BTC: tuple(Resting(side, None if p is None else D(p)) for side, p in orders)})


LOCK = Lock("cooldown_period", "a trade in BTC/USDT closed a moment ago", 5, BTC)

CASES = [
    # (order, what surrounds it, action, code, value of what may be sent)
    (buy(), Standing(), "allow", "allowed", "1000"),
    (buy(), HALTED, "deny", "halted", None),
    (sell(), HALTED, "deny", "halted", None),
    (buy(), REDUCING, "deny", "reducing", None),
    (limit(Side.BUY, "49000"), REDUCING, "deny", "reducing", None),
    (sell(), REDUCING, "allow", "allowed", "1000"),
    (buy(), Standing(locks=(LOCK,)), "deny", "cooldown_period", None),
    (buy(), Standing(locks=(replace(LOCK, symbol=None),)), "deny", "cooldown_period", None),
    (buy(), Standing(locks=(replace(LOCK, symbol=ETH),)), "allow", "allowed", "1000"),
    (sell(), Standing(locks=(LOCK,)), "allow", "allowed", "1000"),
    (buy(), quoted(age=9_000, stale_after=10_000), "allow", "allowed", "1000"),
    (buy(), quoted(age=10_001, stale_after=10_000), "deny", "stale_data", None),
    (buy(), quoted(age=None, stale_after=10_000), "allow", "allowed", "1000"),
    (sell(), quoted(age=10_001, stale_after=10_000), "allow", "allowed", "1000"),
    (buy(), quoted(close="48000", price_collar="0.05"), "allow", "allowed", "1000"),
    (buy(), quoted(close="47000", price_collar="0.05"), "deny", "price_collar", None),
    (buy(), quoted(close="53000", price_collar="0.05"), "deny", "price_collar", None),
    (sell(), quoted(close="47000", price_collar="0.05"), "allow", "allowed", "1000"),
    (limit(Side.BUY, "52600"), quoted(price_collar="0.05"), "deny", "price_collar", None),
    (limit(Side.BUY, "30000"), quoted(price_collar="0.05"), "allow", "allowed", "600"),
    (limit(Side.SELL, "47400"), quoted(price_collar="0.05"), "deny", "price_collar", None),
    (limit(Side.SELL, "70000"), quoted(price_collar="0.05"), "allow", "allowed", "1400"),
    (buy(), resting((Side.SELL, "50400")), "deny", "self_trade", None),
    (buy(), resting((Side.SELL, None)), "deny", "self_trade", None),
    (buy(), resting((Side.SELL, "51000"), (Side.BUY, "49999")), "allow", "allowed", "1000"),
    (sell(), resting((Side.BUY, "49600")), "deny", "self_trade", None),
    (sell(), resting((Side.BUY, "49000")), "allow", "allowed", "1000"),
    (limit(Side.BUY, "49000"), resting((Side.SELL, "49001")), "allow", "allowed", "980"),
    (limit(Side.BUY, "49001"), resting((Side.SELL, "49001")), "deny", "self_trade", None),
    (limit(Side.SELL, "49001"), resting((Side.BUY, "49001")), "deny", "self_trade", None),
    (buy(), within(recent=4, max_orders_per_minute=5), "allow", "allowed", "1000"),
    (buy(), within(recent=5, max_orders_per_minute=5), "deny", "max_orders_per_minute", None),
    (sell(), within(recent=5, max_orders_per_minute=5), "allow", "allowed", "1000"),
    (buy(), within(open_=1, max_open_orders=2), "allow", "allowed", "1000"),
    (buy(), within(open_=2, max_open_orders=2), "deny", "max_open_orders", None),
    (sell(), within(open_=2, max_open_orders=2), "allow", "allowed", "1000"),
    (buy(), within(max_order_notional="1000"), "allow", "allowed", "1000"),
    (buy(), within(max_order_notional="600"), "shrink", "max_order_notional", "600"),
    (limit(Side.BUY, "50000"), within(max_order_notional="600"), "shrink", "max_order_notional", "600"),
    (sell(), within(max_order_notional="600"), "allow", "allowed", "1000"),
    (buy(), within(held("400"), max_position_notional="1500"), "allow", "allowed", "1000"),
    (buy(), within(held("400", buys="500"), max_position_notional="1500"), "shrink", "max_position_notional", "600"),
    (buy(), within(held("1600"), max_position_notional="1500"), "deny", "max_position_notional", None),
    (sell(), within(held("1600"), max_position_notional="1500"), "allow", "allowed", "1000"),
    (buy(), within(held("100", other="200"), max_gross_exposure="0.2"), "allow", "allowed", "1000"),
    (buy(), within(held("1000", other="300"), max_gross_exposure="0.2"), "shrink", "max_gross_exposure", "700"),
    (buy(), within(held("1000", other="1000"), max_gross_exposure="0.2"), "deny", "max_gross_exposure", None),
    (buy(), within(held("0", buys="1500"), max_net_exposure="0.2"), "shrink", "max_net_exposure", "500"),
    (buy(), within(held("0", buys="2000"), max_net_exposure="0.2"), "deny", "max_net_exposure", None),
    (buy(), within(held("1000"), max_net_exposure="0.2"), "allow", "allowed", "1000"),
]


@pytest.mark.parametrize(("draft", "standing", "action", "code", "value"), CASES)
def test_a_check(draft: Draft, standing: Standing, action: str, code: str, value: str | None) -> None:
    assert judge(draft, standing) == (action, code, None if value is None else D(value))


def test_the_unknown_order_freeze_holds_what_adds() -> None:
    frozen = frozenset({BTC})
    assert judge(buy(), frozen=frozen)[1] == "unknown_order"
    assert judge(limit(Side.BUY, "49000"), frozen=frozen)[1] == "unknown_order"
    assert judge(sell(), frozen=frozen)[1] == "allowed"
    assert judge(buy(), frozen=frozenset({ETH}))[1] == "allowed"


def test_cash_margin_and_position_are_not_overdrawn() -> None:
    assert judge(buy(), cash=D(400)) == ("shrink", "insufficient_cash", D(400))
    assert judge(limit(Side.BUY, "50000"), cash=D(400)) == ("shrink", "insufficient_cash", D(400))
    assert judge(buy(), cash=D(0)) == ("deny", "insufficient_cash", None)
    assert judge(sell(), held=D("0.02")) == ("allow", "allowed", D(1000))
    assert judge(sell(), held=D("0.01")) == ("shrink", "insufficient_position", D(500))
    assert judge(sell(), held=D(0)) == ("deny", "insufficient_position", None)
    short = Draft(BTC, Side.SELL, MARK, quantity=D(1), adds=True)
    margin = Margin(D(10_000), D(0), D(2))
    allowed, decisions = check_order(short, Situation(ideal_market(BTC, D(0)), D(0), margin=margin))
    assert allowed is not None
    assert (allowed.value, decisions[0].code) == (D(20_000), "insufficient_margin")


def test_the_venues_minimums_come_last() -> None:
    assert judge(buy("0.5")) == ("deny", "below_minimum", None)
    shrunk = judge(buy(), within(max_order_notional="0.5"))
    assert shrunk == ("shrink", "max_order_notional", None)


def test_the_tightest_of_several_limits_holds_and_is_named() -> None:
    own = Allowance("deployment demo", Limits(max_order_notional=D(800)), held())
    account = Allowance("account main", Limits(max_order_notional=D(500)), held())
    _, decisions = check_order(buy(), Situation(GATE, D(10_000), standing=Standing((own, account))))
    assert [decision.code for decision in decisions] == ["max_order_notional"]
    assert decisions[0].reason == "an order of account main may add 500 USDT, 1000 is wanted"


def test_a_limit_draft_becomes_a_limit_order() -> None:
    request = limit(Side.SELL, "51000").request("t-1")
    assert (request.type, request.price, request.time_in_force) == (OrderType.LIMIT, D(51_000), TimeInForce.GTC)


AMOUNT = st.integers(1, 2_000_000).map(lambda cents: D(cents) / 100)
ORDERS = st.lists(st.tuples(st.sampled_from([BTC, ETH]), st.booleans(), AMOUNT, st.booleans()), max_size=12)


@given(orders=ORDERS, gross=AMOUNT, position=AMOUNT, order=AMOUNT, count=st.integers(1, 8))
def test_limits_hold_over_any_sequence_of_orders(
    orders: list[tuple[Symbol, bool, Decimal, bool]], gross: Decimal, position: Decimal, order: Decimal, count: int
) -> None:
    """I14: whether the orders before it filled, rest, or have an unknown fate, the worst case stays within limits."""
    equity = D(10_000)
    limits = Limits(
        max_order_notional=order,
        max_position_notional=position,
        max_gross_exposure=gross / equity,
        max_net_exposure=gross / equity,
        max_orders_per_minute=count,
    )
    standing = Standing((Allowance("deployment demo", limits, Exposure(equity)),))
    for symbol, by_limit, value, filled in orders:
        market = ideal_market(symbol, D(0))
        draft = Draft(symbol, Side.BUY, MARK, cost=value)
        if by_limit:
            draft = Draft(symbol, Side.BUY, MARK, quantity=value / MARK, price=MARK, adds=True)
        allowed, _ = check_order(draft, Situation(market, equity * 10, standing=standing))
        if allowed is None:
            continue
        assert allowed.value <= order
        standing = standing.after(allowed)
        if filled:
            standing = replace(standing, allowances=(_filled(standing.allowances[0], allowed),))
        exposure = standing.allowances[0].exposure
        assert exposure is not None
        assert exposure.gross() <= gross
        assert exposure.net(Side.BUY) <= gross
        assert all(exposure.long(one) <= position for one in (BTC, ETH))
    assert standing.allowances[0].recent <= count


def _filled(allowance: Allowance, draft: Draft) -> Allowance:
    """The allowance when `draft` is not on its way any more, but held."""
    exposure = allowance.exposure
    assert exposure is not None
    values = {**exposure.values, draft.symbol: exposure.values.get(draft.symbol, D(0)) + draft.value}
    buys = {**exposure.buys, draft.symbol: exposure.buys[draft.symbol] - draft.value}
    return replace(allowance, exposure=replace(exposure, values=values, buys=buys))
