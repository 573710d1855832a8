"""What a customer is told over the private channels: one record per balance, trade or order that changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cashup.simulator.accounts import Account
from cashup.simulator.orders import SimOrder, SimTrade, order_event, text_of, trade_row
from cashup.types import Market, Millis

ORDERS = "spot.orders"
TRADES = "spot.usertrades"
BALANCES = "spot.balances"

Holdings = Mapping[str, tuple[Decimal, Decimal]]
"""Available and locked, by currency."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One record for a private channel of one account."""

    account: Account
    channel: str
    pair: str
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """One currency of one account after something happened; `id` counts the changes of this currency."""

    id: int
    time: Millis
    currency: str
    kind: str
    change: Decimal
    freeze_change: Decimal
    available: Decimal
    locked: Decimal

    def row(self) -> dict[str, Any]:
        """As the control channel shows it."""
        money = {name: text_of(getattr(self, name)) for name in ("change", "freeze_change", "available", "locked")}
        return {"id": self.id, "time": self.time, "currency": self.currency, "kind": self.kind, **money}


def holdings_of(account: Account, market: Market) -> Holdings:
    """Available and locked, before something happens."""
    return {
        currency: (account.holding(currency).available, account.holding(currency).locked)
        for currency in (market.base, market.quote)
    }


def balance_changes(account: Account, market: Market, before: Holdings, kind: str, now: Millis) -> list[BalanceChange]:
    """One per currency of `market` that is not as it was `before`."""
    changes = []
    for currency, (available, locked) in before.items():
        holding = account.holding(currency)
        if (holding.available, holding.locked) != (available, locked):
            change = holding.available + holding.locked - available - locked
            freeze_change = holding.locked - locked
            now_held = (holding.available, holding.locked)
            changes.append(BalanceChange(holding.updates, now, currency, kind, change, freeze_change, *now_held))
    return changes


def balance_notice(account: Account, pair: str, change: BalanceChange) -> Notice:
    """The record for `spot.balances`; `pair` is the market it comes from, if it does."""
    record = {
        "timestamp": str(change.time // 1000),
        "timestamp_ms": str(change.time),
        "user": str(account.uid),
        "currency": change.currency,
        "change": text_of(change.change),
        "total": text_of(change.available + change.locked),
        "available": text_of(change.available),
        "freeze": text_of(change.locked),
        "freeze_change": text_of(change.freeze_change),
        "change_type": change.kind,
    }
    return Notice(account, BALANCES, pair, record)


def trade_notice(trade: SimTrade) -> Notice:
    """The record for `spot.usertrades`."""
    return Notice(trade.order.account, TRADES, trade.order.pair, trade_row(trade))


def order_notice(order: SimOrder, event: str) -> Notice:
    """The record for `spot.orders`; `event` is put, update or finish."""
    return Notice(order.account, ORDERS, order.pair, order_event(order, event))
