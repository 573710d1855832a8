"""Market rules: known pairs, derived ones, and the ideal venue."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cashup.errors import UsageError
from cashup.exchanges.rules import gate_market, ideal_market
from cashup.types import FeeIn

D = Decimal


def test_known_pairs_have_fixed_steps():
    market = gate_market("BTC/USDT", [1.23456789])
    assert (market.tick, market.lot, market.cost_step, market.min_cost) == (D("0.1"), D("0.00001"), D("0.1"), D(3))
    assert (market.base, market.quote, market.fee_in) == ("BTC", "USDT", FeeIn.RECEIVED)
    assert (market.taker_fee, market.maker_fee) == (D("0.001"), D("0.001"))


@pytest.mark.parametrize(
    ("prices", "tick", "lot"),
    [([0.0512, 0.05], "0.0001", "1"), ([150.0, 98.5], "0.1", "0.01"), ([9.9], "0.1", "1"), ([1e-7], "1E-7", "1")],
)
def test_other_pairs_follow_from_their_prices(prices: list[float], tick: str, lot: str):
    market = gate_market("SOL/USDT", prices)
    assert (market.tick, market.lot) == (D(tick), D(lot))


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5))
def test_every_price_lies_on_the_derived_tick_and_a_lot_is_small(prices: list[float]):
    market = gate_market("SOL/USDT", prices)
    assert all(market.round_price(D(repr(price))) == D(repr(price)) for price in prices)
    assert market.lot * D(repr(max(prices))) < 10
    assert market.lot <= 1


def test_an_unknown_pair_without_prices_and_a_bad_symbol_are_refused():
    with pytest.raises(UsageError, match="SOL/USDT"):
        gate_market("SOL/USDT")
    with pytest.raises(UsageError, match="BTC/USDT"):
        gate_market("BTCUSDT")


def test_the_ideal_venue_has_no_lot_and_takes_its_fee_on_top():
    market = ideal_market("BTC/USDT:USDT", D("0.002"))
    assert (market.lot, market.tick, market.fee_in, market.quote) == (D(0), D(0), FeeIn.QUOTE, "USDT")
