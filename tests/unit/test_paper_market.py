"""How a venue's candles become the prices and the liquidity of a paper account, and what its terms say."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cashup.clock import VirtualClock
from cashup.errors import UsageError
from cashup.exchanges.matching import waypoints
from cashup.exchanges.paper_terms import PaperTerms
from cashup.exchanges.paper_venue import PaperAccount, PaperVenue
from cashup.exchanges.rules import gate_market
from cashup.paper.market import PaperMarket
from cashup.types import Candle, OrderReport, OrderRequest, OrderType, Side, Symbol, TimeInForce

D = Decimal
BTC = Symbol("BTC/USDT")
HOUR = 3_600_000
SHARE = D("0.1")


def candle(figures: str, *, time: int = 0, closed: bool = False) -> Candle:
    """A candle from `open high low close volume`."""
    return Candle(BTC, "1h", time, *map(D, figures.split()), closed=closed)


class Stage:
    """A market that is shown candles, and an account on it."""

    def __init__(self, share: Decimal | None = SHARE) -> None:
        self.venue = PaperVenue([gate_market(BTC)], VirtualClock(1))
        self.account: PaperAccount = self.venue.open_account({"USDT": D(100_000), "BTC": D(100)})
        self.market = PaperMarket(self.venue, BTC, share)
        self._count = 0

    def limit(self, side: Side, quantity: str, price: str, tif: TimeInForce = TimeInForce.GTC) -> str:
        self._count += 1
        text = f"t-{self._count}"
        how = {"quantity": D(quantity), "price": D(price), "time_in_force": tif}
        sent = self.account.place(OrderRequest(text, BTC, side, OrderType.LIMIT, **how))
        assert sent.report is not None
        return sent.report.exchange_order_id

    def order(self, ident: str) -> OrderReport:
        return next(report for report in self.account.reports() if report.exchange_order_id == ident)


def test_a_bar_goes_away_from_its_close_first() -> None:
    assert waypoints(candle("100 110 90 105 1")) == [100, 90, 110, 105]
    assert waypoints(candle("100 110 90 95 1")) == [100, 110, 90, 95]
    assert waypoints(candle("100 112 90 111 2"), candle("100 110 90 105 1")) == [112, 111]
    assert waypoints(candle("100 110 90 101 2"), candle("100 110 90 105 1")) == [101]


def test_what_rests_is_filled_when_the_bar_reaches_it_and_not_before() -> None:
    stage = Stage(None)
    stage.market.show(candle("100 100 100 100 0"))
    low, high = stage.limit(Side.BUY, "1", "95"), stage.limit(Side.SELL, "1", "104")
    stage.market.show(candle("100 103 96 100 5"))
    assert not stage.order(low).done
    assert not stage.order(high).done
    stage.market.show(candle("100 105 96 101 6"))
    assert (stage.order(high).filled, stage.order(high).average_price) == (1, 104)
    stage.market.show(candle("100 105 95 99 7", closed=True))
    assert (stage.order(low).filled, stage.order(low).average_price) == (1, 95)


def test_an_old_message_and_a_repeated_one_change_nothing() -> None:
    stage = Stage()
    stage.market.show(candle("100 100 100 100 50", time=HOUR))
    order = stage.limit(Side.BUY, "1", "95")
    for shown in (candle("100 100 90 90 99"), candle("100 100 100 100 50", time=HOUR)):
        stage.market.show(shown)
    assert stage.order(order).filled == 0
    assert stage.venue.matchers[BTC].liquidity == 5


def test_a_bar_offers_a_share_of_its_volume_once() -> None:
    stage = Stage()
    stage.market.show(candle("100 100 100 100 0"))
    stage.market.show(candle("100 100 100 100 20", closed=True))
    stage.market.show(candle("100 100 100 100 0", time=HOUR))
    taken = stage.limit(Side.SELL, "3", "100", TimeInForce.IOC)
    assert (stage.order(taken).filled, stage.order(taken).reason) == (2, "ioc")
    stage.market.show(candle("100 100 100 100 10", time=HOUR))
    assert stage.order(stage.limit(Side.SELL, "1", "100", TimeInForce.IOC)).filled == 0
    stage.market.show(candle("100 100 100 100 25", time=HOUR))
    assert stage.order(stage.limit(Side.SELL, "1", "100", TimeInForce.IOC)).filled == D("0.5")
    stage.market.show(candle("100 100 100 100 0", time=2 * HOUR))
    assert stage.order(stage.limit(Side.SELL, "9", "100", TimeInForce.IOC)).filled == D("2.5")


def test_a_resting_order_is_filled_over_several_bars() -> None:
    stage = Stage()
    stage.market.show(candle("100 100 100 100 10", closed=True))
    order = stage.limit(Side.BUY, "5", "99")
    filled = []
    for number in range(1, 5):
        stage.market.show(candle("99 99 98 98 20", time=number * HOUR, closed=True))
        filled.append(stage.order(order).filled)
    assert filled == [2, 4, 5, 5]


FRAMES = st.lists(
    st.tuples(st.integers(1, 3), st.integers(90, 110), st.integers(90, 110), st.integers(0, 40)),
    min_size=1,
    max_size=20,
)


@given(FRAMES, st.integers(1, 30))
def test_no_bar_gives_more_than_its_share_and_a_restart_forgets_nothing(frames: list[Any], quantity: int) -> None:
    """One stage goes on; the other is written down and read again after every message."""
    stages = [Stage(), Stage()]
    orders = []
    for stage in stages:
        stage.market.show(candle("100 100 100 100 100"))
        orders.append([stage.limit(side, str(quantity), "100.1" if side is Side.SELL else "99.9") for side in Side])
    time, before, seen, taken = 0, D(0), candle("100 100 100 100 100"), D(0)
    for step, one, other, volume in frames:
        if step == 1:
            time, before, taken = time + HOUR, seen.volume, D(0)
            seen = candle(f"{one} {one} {one} {one} 0", time=time)
        high, low = max(seen.high, D(one), D(other)), min(seen.low, D(one), D(other))
        seen = Candle(BTC, "1h", time, seen.open, high, low, D(other), seen.volume + volume, closed=False)
        already = len(stages[0].account.trades)
        for stage in stages:
            stage.market.show(seen)
        taken += sum(trade.quantity for trade in stages[0].account.trades[already:])
        assert taken <= SHARE * max(before, seen.volume)
        written = stages[1].market.document()
        stages[1].market = PaperMarket(stages[1].venue, BTC, SHARE)
        stages[1].market.resume(written)
    first, second = ([stage.order(ident).filled for ident in ids] for stage, ids in zip(stages, orders, strict=True))
    assert first == second


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ({}, "begins with some money"),
        ({"balances": {"USDT": "0"}}, "begins with some money"),
        ({"balances": {"USDT": "much"}}, "is no number"),
        ({"balances": {"USDT": "-1"}}, "zero or more"),
        ({"balances": {"USDT": "NaN"}}, "zero or more"),
        ({"latency": -1}, "between 0 and"),
        ({"jitter": 1.5}, "whole number"),
        ({"latency": "soon"}, "whole number"),
        ({"liquidity": "0"}, "nothing is ever filled"),
        ({"liquidity": "1.1"}, "fraction between"),
        ({"slippage": "NaN"}, "fraction between"),
        ({"taker_fee": "-0.1"}, "fraction between"),
        ({"timeframe": "soon"}, "not a timeframe"),
        ({"spread": 1}, "has no spread"),
    ],
)
def test_terms_that_cannot_be_are_refused(terms: dict[str, Any], sentence: str) -> None:
    given = terms if "balances" in terms or not terms else {"balances": {"USDT": "1"}} | terms
    with pytest.raises(UsageError, match=sentence):
        PaperTerms.parse(given)


def test_terms_can_be_written_down() -> None:
    terms = PaperTerms({"USDT": D("1E+4"), "BTC": D("0.5")}, "5m", 10, 0, 7, None, D("0.001"), D("0.002"), D(0))
    assert terms.document()["balances"] == {"USDT": "10000", "BTC": "0.5"}
    assert PaperTerms.parse(terms.document()) == terms


def test_every_assumption_is_documented_by_its_number() -> None:
    page = (Path(__file__).parents[2] / "docs" / "paper.md").read_text()
    written = re.findall(r"^\d+\. (.*(?:\n {3,}.*)*)", page, re.MULTILINE)
    assert [" ".join(sentence.split()) for sentence in written] == PaperTerms({"USDT": D(1)}).assumptions()


def test_the_assumptions_follow_the_terms() -> None:
    other = PaperTerms({"USDT": D(1)}, "1h", 5, 0, 0, None, D("0.0005"), D("0.002"), D(0)).assumptions()
    usual = PaperTerms({"USDT": D(1)}).assumptions()
    assert [number for number, pair in enumerate(zip(usual, other, strict=True), 1) if pair[0] != pair[1]] == [
        1, 2, 3, 5, 7,
    ]  # fmt: skip
    assert "moved against it by 0.05 %" in other[2]
    assert "taker 0.2 % and maker 0 %" in other[6]
