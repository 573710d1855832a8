"""Differences between a venue and the books, in words: what each says, what probably happened, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cashup.exchanges.base import Exchange
from cashup.orders.state import Order
from cashup.trading.ledger import HOLDINGS
from cashup.trading.loading import load_holdings
from cashup.trading.tables import ledger_entries
from cashup.types import ZERO, Millis

LAG: Millis = 120_000
"""How far a venue's balances may lie behind its trades; what they showed before that is a difference."""


@dataclass(frozen=True, slots=True)
class Difference:
    """An asset of which the venue holds another amount than the books say.

    `stale`: the amount is what the books said a moment ago, so the venue's answer is older than its trades.
    """

    asset: str
    venue: Decimal
    books: Decimal
    stale: bool = False

    def __str__(self) -> str:
        word = "more" if self.venue > self.books else "less"
        return (
            f"the venue holds {plain(self.venue)} {self.asset}, the books say {plain(self.books)} "
            f"({plain(abs(self.venue - self.books))} {word})"
        )

    @property
    def cause(self) -> str:
        """What probably happened."""
        if self.stale:
            return "the venue's balances lag behind its trades"
        if self.venue > self.books:
            return "a deposit, a transfer from another wallet, interest or a rebate"
        return "a withdrawal, a transfer to another wallet, or a fee that no trade shows"

    @property
    def advice(self) -> str:
        """What to do."""
        if self.stale:
            return "wait: it is compared again by itself"
        return "if you know why, accept it (`cashup account accept`); else look into the venue's account history first"

    def to_json(self) -> dict[str, Any]:
        """As the API shows it; money as text."""
        amounts = {"asset": self.asset, "venue": plain(self.venue), "books": plain(self.books)}
        return amounts | {"summary": str(self), "cause": self.cause, "advice": self.advice}


@dataclass(frozen=True, slots=True)
class OrderDifference:
    """An order on which venue and books contradict each other."""

    order: Order
    venue: str
    books: str
    cause: str
    advice: str

    @classmethod
    def lost(cls, order: Order) -> OrderDifference:
        """The books hold it to rest, and the venue does not know it."""
        return cls(
            order,
            "unknown",
            order.state.value,
            "it was cancelled and the venue has forgotten it, or the venue's lists lag",
            "look at the venue's order history; accepting it (`cashup account accept`) books it as cancelled",
        )

    @classmethod
    def undead(cls, order: Order) -> OrderDifference:
        """It rests on the venue, and has ended in the books."""
        return cls(
            order,
            "open",
            order.state.value,
            "the venue's list is old, or the order reached it after it was held to be dead",
            "cancel it on the venue; it is compared again by itself",
        )

    def __str__(self) -> str:
        shown = "does not know" if self.venue == "unknown" else "shows as resting"
        return f"the venue {shown} order {self.order.client_order_id}, which is {self.books} in the books"

    def to_json(self) -> dict[str, Any]:
        """As the API shows it."""
        ids = {"order": self.order.client_order_id, "exchange_order_id": self.order.exchange_order_id}
        states = {"venue": self.venue, "books": self.books}
        return ids | states | {"summary": str(self), "cause": self.cause, "advice": self.advice}


def plain(amount: Decimal) -> str:
    """An amount without exponent or trailing zeros."""
    return f"{amount.normalize():f}"


async def compare(exchange: Exchange, engine: AsyncEngine, account: str, now: Millis | None = None) -> list[Difference]:
    """The venue's balances against the ledger, to the last digit; with `now` it is said which ones are stale.

    Raises ExchangeError when the balances cannot be read.
    """
    return await differences(engine, account, await totals(exchange), now)


async def totals(exchange: Exchange) -> dict[str, Decimal]:
    """What the venue holds per asset, whether orders hold it or not. Raises ExchangeError."""
    return {asset: balance.total for asset, balance in (await exchange.balances()).items()}


async def differences(
    engine: AsyncEngine, account: str, shown: Mapping[str, Decimal], now: Millis | None = None
) -> list[Difference]:
    """What the venue showed against what the ledger now says."""
    found = []
    async with engine.connect() as connection:
        booked = await load_holdings(connection, account)
        for asset in sorted(shown.keys() | booked.keys()):
            venue, books = shown.get(asset, ZERO), booked.get(asset, ZERO)
            if venue != books:
                stale = now is not None and await _seen(connection, account, asset, venue, books, now - LAG)
                found.append(Difference(asset, venue, books, stale))
    return found


async def _seen(
    connection: AsyncConnection, account: str, asset: str, venue: Decimal, books: Decimal, since: Millis
) -> bool:
    """True when the books said `venue` after one of the asset's transactions since then, or right before them."""
    entry, newest = ledger_entries.c, select(func.max(ledger_entries.c.id)).scalar_subquery()
    amount = func.sum(entry.amount)
    query = (
        select(amount)
        .where(entry.id > newest - _ENTRIES, entry.account == account, entry.asset == asset, entry.at >= since)
        .where(entry.kind.in_(HOLDINGS))
        .group_by(entry.transaction)
        .having(amount != 0)
        .order_by(func.max(entry.id).desc())
    )
    for change in (await connection.execute(query)).scalars():
        books -= change
        if books == venue:
            return True
    return False


_ENTRIES = 20_000
"""The newest entries of the ledger, over all accounts, among which the last moments are looked for."""
