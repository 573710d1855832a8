"""What arrives about single orders: parsed exactly or refused in one sentence, and equal when it asks for the same."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cashup.errors import UsageError
from cashup.exchanges.rules import gate_market
from cashup.trading.requests import body_hash, parse_amend, parse_cancel, parse_place
from cashup.types import OrderType, TimeInForce

LIMIT = {"symbol": "BTC/USDT", "side": "sell", "quantity": "0.5", "price": "100"}
MARKET = gate_market("BTC/USDT")


def test_what_is_left_out_is_what_is_usual() -> None:
    limit = parse_place("k", LIMIT)
    assert (limit.type, limit.time_in_force) == (OrderType.LIMIT, TimeInForce.GTC)
    market = parse_place("k", {"symbol": "BTC/USDT", "side": "buy", "cost": "25"})
    assert (market.type, market.time_in_force, market.cost) == (OrderType.MARKET, TimeInForce.IOC, 25)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (LIMIT | {"type": "market"}, "a market order has none"),
        (LIMIT | {"type": "limit", "price": None}, "names its price"),
        (LIMIT | {"cost": "5"}, "given as quantity"),
        (LIMIT | {"quantity": None, "cost": "5"}, "given as quantity"),
        ({"symbol": "BTC/USDT", "side": "buy", "quantity": "1"}, "given as cost"),
        ({"symbol": "BTC/USDT", "side": "sell", "quantity": "1", "time_in_force": "gtc"}, "does not rest"),
        (LIMIT | {"symbol": 7}, "names its symbol"),
        (LIMIT | {"side": None}, "one of buy, sell"),
        (LIMIT | {"leverage": "3"}, "leverage is nothing this takes"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(body: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_place("k", body)


@pytest.mark.parametrize(
    "amount",
    ["NaN", "Infinity", "1e-9", "1E+5", "-1", "+1", "0", "0.000", "", " 1", "1_000", "0x1", 0.1, True, "9" * 40],
)
@pytest.mark.parametrize("name", ["quantity", "price"])
def test_amounts_are_plain_digits_above_zero(name: str, amount: object) -> None:
    with pytest.raises(UsageError, match=name):
        parse_place("k", LIMIT | {name: amount})
    with pytest.raises(UsageError, match=name):
        parse_amend("k", "t-1", {name: amount})


@pytest.mark.parametrize("key", ["", "x" * 65, "a\nb", 7, None, "flatten:1"])
def test_keys_are_short_texts_that_are_nobody_elses(key: object) -> None:
    with pytest.raises(UsageError, match="key"):
        parse_place(key, LIMIT)
    with pytest.raises(UsageError, match="key"):
        parse_cancel(key, "t-1")


def test_an_amendment_changes_something_and_a_cancel_names_an_order() -> None:
    with pytest.raises(UsageError, match="quantity, a price, or both"):
        parse_amend("k", "t-1", {})
    with pytest.raises(UsageError, match="by its id"):
        parse_cancel("k", None)


@pytest.mark.parametrize("change", [{"quantity": "0.000001"}, {"price": "100.05"}])
def test_amounts_off_the_venues_steps_are_refused(change: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="venue's step"):
        parse_place("k", LIMIT | change).check(MARKET)
    with pytest.raises(UsageError, match="venue's step"):
        parse_amend("k", "t-1", change).check(MARKET)
    parse_place("k", LIMIT).check(MARKET)


@given(st.integers(1, 10**9), st.integers(0, 5), st.integers(0, 4))
def test_trailing_zeros_ask_for_the_same(digits: int, places: int, zeros: int) -> None:
    amount = Decimal(digits).scaleb(-places)
    padded = f"{amount:.{places + zeros}f}"
    plain, same = parse_place("k", LIMIT | {"quantity": f"{amount:f}"}), parse_place("k", LIMIT | {"quantity": padded})
    assert plain.quantity == same.quantity
    assert body_hash(plain) == body_hash(same)
    assert body_hash(plain) != body_hash(parse_place("k", LIMIT | {"quantity": f"{amount + 1:f}"}))


def test_kinds_do_not_answer_for_each_other() -> None:
    assert body_hash(parse_cancel("k", "t-1")) != body_hash(parse_amend("k", "t-1", {"price": "1"}))
