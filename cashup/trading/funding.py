"""Funding: the capital of a deployment, taken out of what is free on its account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cashup.errors import Conflict
from cashup.trading.book import Book
from cashup.trading.desk import Desk
from cashup.trading.desks import Desks
from cashup.trading.ledger import Posting
from cashup.trading.rules import Rules
from cashup.trading.trips import load_closed
from cashup.types import ZERO


@dataclass(frozen=True, slots=True)
class Funding:
    """What a deployment gets of its account: `capital` in `quote`, and the spec with its limits."""

    deployment: str
    capital: Decimal
    quote: str
    spec: Mapping[str, Any]


async def fund(desks: Desks, funding: Funding) -> None:
    """Give a deployment its capital out of what is free on the account, or what its capital grew or shrank by.

    Raises Conflict when the money is not there.
    """
    name, quote = funding.deployment, funding.quote
    desk = desks.desks.get(name)
    if desk is not None and desk.quote != quote:
        raise Conflict(f"the book of {name} is in {desk.quote}; use another name for {quote}")
    change = funding.capital - (desk.capital if desk is not None else ZERO)
    free = desks.free.get(quote, ZERO)
    _check_cover(funding, change, free, desks.account, desk)
    turn = desks.turn()
    if desk is None:
        desk = Desk(name, desks.account, quote, ZERO, Book(ZERO))
    desk.capital += change
    desk.book = Book(desk.book.cash + change, desk.book.positions, desk.book.targets, desk.book.fees)
    desk.rules = Rules.of(funding.spec)
    posting = Posting(desks.account, name, f"capital:{name}", turn.now)
    turn.post(posting.add_to_account("cash", quote, -change).add("cash", quote, change))
    desk.save(turn)
    await desks.commit(turn)
    desks.desks[name] = desk
    async with desks.engine.connect() as connection:
        known = await load_closed(connection, {name: desk.rules}, turn.now)
    desk.closed = known.get(name, [])


def _check_cover(funding: Funding, change: Decimal, free: Decimal, account: str, desk: Desk | None) -> None:
    if change > free:
        raise Conflict(
            f"{funding.deployment} asks for {change} {funding.quote}, and account {account} has {free} free; "
            "lower the capital or pay in more",
            code="capital_not_covered",
        )
    if desk is not None and change < 0 and desk.free_cash + change < 0:
        raise Conflict(
            f"{funding.deployment} has {desk.free_cash} {funding.quote} that no order holds; "
            f"its capital cannot shrink by {-change}",
            code="capital_not_covered",
        )
