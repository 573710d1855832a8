"""What an exchange holds of one account, as the exchange knows it: the truth that our tables are held against."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from cashup.exchanges.base import Exchange
from cashup.exchanges.paper_venue import PaperAccount
from cashup.types import Symbol, Trade

OURS = re.compile(r"t-[0-9A-HJKMNP-TV-Z]{26}")
"""Our client order ids: the prefix and a ULID."""


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """One order on the exchange. `filled` is base currency; `created` is when it was received (ms), if known."""

    text: str | None
    id: str
    symbol: str
    side: str
    filled: Decimal
    done: bool
    created: int | None = None

    @property
    def ours(self) -> bool:
        """True for an order that carries one of our ids."""
        return self.text is not None and OURS.fullmatch(self.text) is not None


@dataclass(frozen=True, slots=True)
class VenueTrade:
    """One execution on the exchange; `time` in ms."""

    id: str
    order: str
    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_currency: str
    time: int


@dataclass(frozen=True, slots=True)
class VenueBook:
    """Orders, trades and balances (asset -> available, reserved) of one account, and what it did against the rules."""

    orders: tuple[VenueOrder, ...] = ()
    trades: tuple[VenueTrade, ...] = ()
    balances: Mapping[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    rate_violations: int = 0

    @property
    def totals(self) -> dict[str, Decimal]:
        """What is there of each asset, held by orders or not; zeros left out."""
        return {asset: sum(parts, Decimal(0)) for asset, parts in self.balances.items() if sum(parts)}


def paper_book(account: PaperAccount) -> VenueBook:
    """The book of a paper account, read from its own memory."""
    orders = [
        VenueOrder(
            text=placed.request.client_order_id,
            id=placed.match.id,
            symbol=placed.request.symbol,
            side=placed.match.side.value,
            filled=placed.match.filled,
            done=placed.match.done,
        )
        for placed in account.placed.values()
    ]
    balances = {asset: (balance.available, balance.reserved) for asset, balance in account.balances.items()}
    return VenueBook(tuple(orders), tuple(map(_trade, account.trades)), balances)


async def port_book(exchange: Exchange, symbols: Sequence[Symbol]) -> VenueBook:
    """The book of an account whose exchange keeps it in a store of its own, read through the port."""
    reports = {report.exchange_order_id: report for report in await exchange.open_orders()}
    trades: list[Trade] = []
    for symbol in symbols:
        reports |= {report.exchange_order_id: report for report in await exchange.finished_orders(symbol, 0, 1 << 42)}
        trades += await exchange.trades(symbol, 0)
    orders = [
        VenueOrder(report.client_order_id, ident, report.symbol, report.side.value, report.filled, report.done)
        for ident, report in reports.items()
    ]
    balances = {asset: (held.available, held.reserved) for asset, held in (await exchange.balances()).items()}
    return VenueBook(tuple(orders), tuple(map(_trade, trades)), balances)


def _trade(trade: Trade) -> VenueTrade:
    return VenueTrade(
        id=trade.trade_id,
        order=trade.exchange_order_id,
        symbol=trade.symbol,
        side=trade.side.value,
        price=trade.price,
        quantity=trade.quantity,
        fee=trade.fee,
        fee_currency=trade.fee_currency,
        time=trade.time,
    )


def simulator_book(book: Mapping[str, Any], account: str, rate_violations: int = 0) -> VenueBook:
    """The book of one of the simulator's accounts, from the answer to the control request `book`."""
    held = book["accounts"][account]
    orders = [
        VenueOrder(
            text=row["text"],
            id=row["id"],
            symbol=_symbol(row),
            side=row["side"],
            filled=Decimal(row["filled_amount"]),
            done=row["status"] != "open",
            created=int(row["create_time_ms"]),
        )
        for row in held["orders"]
    ]
    trades = [
        VenueTrade(
            id=row["id"],
            order=row["order_id"],
            symbol=_symbol(row),
            side=row["side"],
            price=Decimal(row["price"]),
            quantity=Decimal(row["amount"]),
            fee=Decimal(row["fee"]),
            fee_currency=row["fee_currency"],
            time=int(Decimal(row["create_time_ms"])),
        )
        for row in held["trades"]
    ]
    balances = {
        asset: (Decimal(amounts["available"]), Decimal(amounts["locked"]))
        for asset, amounts in held["balances"].items()
    }
    return VenueBook(tuple(orders), tuple(trades), balances, rate_violations)


def _symbol(row: Mapping[str, Any]) -> str:
    return str(row["currency_pair"]).replace("_", "/")


def exchange_book(exchange: Any) -> VenueBook:
    """The book behind a paper exchange, whatever stands in front of it (`inner`)."""
    while hasattr(exchange, "inner"):
        exchange = exchange.inner
    return paper_book(exchange.account)
