"""What the order checks may look at."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from cashup.exchanges.matching import DOWN
from cashup.trading.risk.draft import Draft
from cashup.trading.risk.margin import Margin
from cashup.trading.risk.standing import CALM, Standing
from cashup.types import ZERO, FeeIn, Market, Side, Symbol


@dataclass(frozen=True, slots=True)
class Situation:
    """The order's market, the `cash` that is still free, and what surrounds it.

    `frozen` holds symbols with an UNKNOWN order. With a `margin` that limits what adds to a position, in place of the
    cash. `held` is what of the base currency is free to be sold, None where that was seen to before.
    """

    market: Market
    cash: Decimal
    frozen: frozenset[Symbol] = frozenset()
    margin: Margin | None = None
    standing: Standing = CALM
    held: Decimal | None = None


def spendable(market: Market, cash: Decimal) -> Decimal:
    """The most that a buy may cost so that cost and fee are covered by `cash`."""
    if cash <= 0:
        return ZERO
    return DOWN.divide(cash, 1 + market.taker_fee) if market.fee_in is FeeIn.QUOTE else cash


def reserved(market: Market, draft: Draft) -> Decimal:
    """The cash that a buy on a spot account may take at most, fee included; 0 for a sell."""
    if draft.side is Side.SELL or draft.reduces:
        return ZERO
    return draft.value * (1 + market.taker_fee) if market.fee_in is FeeIn.QUOTE else draft.value
