"""One look at the tables and the exchange's book, which a rule has a word to say about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.faults.venue_book import VenueBook

ENDED = ["filled", "cancelled", "rejected", "rejected_local", "not_placed", "expired"]
"""The states in which an order stays."""

HOLDINGS = ["cash", "position", "reserved"]
"""The kinds of entries that together are what the exchange must show."""


@dataclass(slots=True)
class Seen:
    """What earlier checks saw of each order: its state and what it had filled."""

    orders: dict[str, tuple[str, Decimal]] = field(default_factory=dict)


@dataclass(slots=True)
class Look:
    """One look at the tables (one snapshot) between two looks at the exchange's book."""

    connection: AsyncConnection
    account: str
    before: VenueBook
    after: VenueBook
    seen: Seen
    now: int
    secrets: tuple[str, ...] = ()

    async def rows(self, query: str, **values: Any) -> list[Any]:
        """The rows of a query; `:account` and whatever else it names is bound."""
        bound = {"account": self.account, "ended": ENDED, "holdings": HOLDINGS, **values}
        used = {name: value for name, value in bound.items() if f":{name}" in query}
        return list((await self.connection.execute(text(query), used)).all())

    async def say(self, sentence: str, query: str, **values: Any) -> list[str]:
        """The sentence once for each of the first rows of a query, with the row behind it."""
        rows = await self.rows(query, **values)
        return [f"{sentence}: {' '.join(map(str, row))}" for row in rows[:5]]


Rule = Callable[[Look], Awaitable[list[str]]]
