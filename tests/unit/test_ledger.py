"""Double entry: whatever is booked, each asset sums to zero, and holdings are what really changed hands."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cashup.trading.ledger import HOLDINGS, Posting, post_trade
from cashup.types import Side, Symbol, Trade

# A trade of up to 10^10 with sixteen decimals: Decimal's 28 digits hold its sums exactly, and a posting that they would
# not hold raises.
amounts = st.decimals("0.00000001", "100000", places=8)


def trade(side: Side, price: Decimal, quantity: Decimal, fee: Decimal, currency: str) -> Trade:
    return Trade("1", "9", "t-1", Symbol("BTC/USDT"), side, price, quantity, fee, currency, 1)


def sums(posting: Posting, kinds: tuple[str, ...] | None = None) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for row in posting.rows():
        if kinds is None or row["kind"] in kinds:
            found[row["asset"]] = found.get(row["asset"], Decimal(0)) + row["amount"]
    return {asset: amount for asset, amount in found.items() if amount}


@given(
    side=st.sampled_from(Side),
    price=amounts,
    quantity=amounts,
    fee=amounts,
    currency=st.sampled_from(["BTC", "USDT", "GT"]),
    reserved=st.decimals(0, "1000000", places=8),
)
def test_every_trade_balances(
    side: Side, price: Decimal, quantity: Decimal, fee: Decimal, currency: str, reserved: Decimal
) -> None:
    posting = Posting("main", "demo", "trade", 1)
    left = post_trade(posting, trade(side, price, quantity, fee, currency), "BTC", "USDT", reserved)
    assert sums(posting) == {}
    sign = 1 if side is Side.BUY else -1
    expected = {"BTC": sign * quantity, "USDT": -sign * price * quantity}
    expected[currency] = expected.get(currency, Decimal(0)) - fee
    assert sums(posting, HOLDINGS) == {asset: amount for asset, amount in expected.items() if amount}
    assert 0 <= left <= reserved
    assert sums(posting, ("reserved",)).get("USDT" if side is Side.BUY else "BTC", Decimal(0)) == left - reserved


def test_a_fee_in_base_lessens_what_a_buy_brings() -> None:
    posting = Posting("main", "demo", "trade", 1)
    left = post_trade(
        posting, trade(Side.BUY, Decimal(100), Decimal(2), Decimal("0.002"), "BTC"), "BTC", "USDT", Decimal(250)
    )
    assert left == 50
    entries = {(row["kind"], row["asset"]): row["amount"] for row in posting.rows()}
    assert entries == {
        ("reserved", "USDT"): -200,
        ("market", "USDT"): 200,
        ("position", "BTC"): Decimal("1.998"),
        ("fee", "BTC"): Decimal("0.002"),
        ("market", "BTC"): -2,
    }


def test_a_fee_in_a_third_asset_is_the_accounts() -> None:
    posting = Posting("main", "demo", "trade", 1)
    post_trade(posting, trade(Side.SELL, Decimal(100), Decimal(2), Decimal("0.1"), "GT"), "BTC", "USDT", Decimal(2))
    assert {row["deployment"] for row in posting.rows() if row["asset"] == "GT"} == {None}


def test_a_transaction_that_does_not_balance_is_refused() -> None:
    with pytest.raises(ValueError, match="does not balance"):
        Posting("main", "demo", "x", 1).add("cash", "USDT", Decimal(1)).rows()
