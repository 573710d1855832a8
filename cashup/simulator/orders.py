"""An order on the simulated venue, and how Gate writes orders and trades down."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cashup.exchanges.matching import Fill, MatchOrder
from cashup.simulator.accounts import Account
from cashup.types import MONEY, ZERO, Market, Millis, Side, Symbol


@dataclass(slots=True)
class SimOrder:
    """One order: the matcher's view of it (`match`), and what only the venue knows.

    `received` is when the request that made it arrived, `created` when it took effect.
    """

    match: MatchOrder
    account: Account
    market: Market
    text: str
    created: Millis
    updated: Millis
    received: Millis
    locked: Decimal = ZERO
    fee: Decimal = ZERO
    amend_text: str = "-"

    @property
    def pair(self) -> str:
        """The market's id at Gate."""
        return pair_of(self.market)

    @property
    def lock_currency(self) -> str:
        """The currency that the order holds while it rests: what it would pay with."""
        return self.market.quote if self.match.side is Side.BUY else self.market.base

    @property
    def fee_currency(self) -> str:
        """What it receives; Gate takes the fee from that."""
        return self.market.base if self.match.side is Side.BUY else self.market.quote

    @property
    def status(self) -> str:
        """Gate's three words: open, closed (everything that could be filled is), cancelled."""
        if not self.match.done:
            return "open"
        return "closed" if self.match.reason == "filled" else "cancelled"

    @property
    def average(self) -> Decimal:
        """The average price of its fills; zero without any."""
        return MONEY.divide(self.match.spent, self.match.filled) if self.match.filled else ZERO


@dataclass(frozen=True, slots=True)
class SimTrade:
    """One execution of one account's order."""

    id: int
    order: SimOrder
    fill: Fill
    time: Millis


@dataclass(frozen=True, slots=True)
class PublicTrade:
    """One execution as everybody sees it."""

    id: int
    symbol: Symbol
    side: Side
    price: Decimal
    quantity: Decimal
    time: Millis


def pair_of(market: Market) -> str:
    """`BTC/USDT` as Gate spells it: `BTC_USDT`."""
    return f"{market.base}_{market.quote}"


def text_of(value: Decimal) -> str:
    """A number as Gate writes it: plain digits, no exponent, no trailing zeros."""
    if value == 0:
        return "0"
    return format(value.normalize(MONEY), "f")


def _common(order: SimOrder) -> dict[str, Any]:
    match = order.match
    amount = match.quantity if match.quantity is not None else match.cost
    return {
        "id": match.id,
        "text": order.text,
        "amend_text": order.amend_text,
        "create_time": str(order.created // 1000),
        "update_time": str(order.updated // 1000),
        "currency_pair": order.pair,
        "type": str(match.type),
        "account": "spot",
        "side": str(match.side),
        "amount": text_of(amount or ZERO),
        "price": text_of(match.price or ZERO),
        "time_in_force": str(match.time_in_force),
        "iceberg": "0",
        "left": text_of(match.left),
        "filled_amount": text_of(match.filled),
        "filled_total": text_of(match.spent),
        "avg_deal_price": text_of(order.average),
        "fee": text_of(order.fee),
        "fee_currency": order.fee_currency,
        "point_fee": "0",
        "gt_fee": "0",
        "gt_discount": False,
        "rebated_fee": "0",
        "rebated_fee_currency": order.lock_currency,
        "stp_id": 0,
        "stp_act": "-",
        "finish_as": match.reason,
    }


def order_row(order: SimOrder) -> dict[str, Any]:
    """An order as REST answers it."""
    row = _common(order)
    row["create_time_ms"] = order.created
    row["update_time_ms"] = order.updated
    row["status"] = order.status
    row["fill_price"] = row["filled_total"]
    return row


def order_event(order: SimOrder, event: str) -> dict[str, Any]:
    """An order as the channel `spot.orders` pushes it; `event` is put, update or finish."""
    row = _common(order)
    row["create_time_ms"] = str(order.created)
    row["update_time_ms"] = str(order.updated)
    row["user"] = order.account.uid
    row["event"] = event
    row["biz_info"] = "-"
    return row


def trade_row(trade: SimTrade) -> dict[str, Any]:
    """A trade as REST answers it and as `spot.usertrades` pushes it."""
    fill, order = trade.fill, trade.order
    return {
        "id": str(trade.id),
        "id_market": trade.id,
        "user_id": order.account.uid,
        "order_id": order.match.id,
        "currency_pair": order.pair,
        "create_time": str(trade.time // 1000),
        "create_time_ms": f"{trade.time}.000000",
        "side": str(fill.side),
        "amount": text_of(fill.quantity),
        "role": "maker" if fill.maker else "taker",
        "price": text_of(fill.price),
        "fee": text_of(fill.fee),
        "fee_currency": fill.fee_currency,
        "point_fee": "0",
        "gt_fee": "0",
        "text": order.text,
        "amend_text": order.amend_text,
        "biz_info": "-",
        "sequence_id": str(trade.id),
    }
