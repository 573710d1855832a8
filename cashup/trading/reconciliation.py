"""Reconciliation: before an account trades, its orders, trades and balances are compared with the venue's.

Orders first (each of ours is looked up), then trades, then balances. Nothing is corrected here: a difference blocks the
account and is put into words, and only an operator may accept it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock
from cashup.exchanges.base import Exchange
from cashup.orders.journal import Write
from cashup.orders.resolver import scan
from cashup.orders.tables import account_leases, fills
from cashup.trading.desks import Desks
from cashup.trading.ledger import Posting
from cashup.trading.loading import load_holdings
from cashup.trading.mailbox import News
from cashup.types import ZERO, Millis, OrderReport, OrderState, ResultClass, SendResult, Symbol, Trade

OPEN_ACCOUNT = Write("open_account", account_leases, ("opened_at",), keys=("account",), mode="update")

OVERLAP: Millis = 60_000
"""How far behind the last booked trade the venue's trades are read again."""


@dataclass(frozen=True, slots=True)
class Difference:
    """An asset of which the venue holds another amount than the books say."""

    asset: str
    venue: Decimal
    books: Decimal

    def __str__(self) -> str:
        word = "more" if self.venue > self.books else "less"
        return (
            f"the venue holds {_plain(self.venue)} {self.asset}, the books say {_plain(self.books)} "
            f"({_plain(abs(self.venue - self.books))} {word})"
        )


def abandoned(desks: Desks) -> list[News]:
    """Orders that were claimed by a process that is gone: whether they were written nobody knows."""
    lost = SendResult(ResultClass.UNKNOWN, message="the gateway stopped while the order was being sent")
    return [
        News([lost], order=record.id, actor="gateway", cause="restart")
        for record in desks.unsettled()
        if record.state is OrderState.SENDING
    ]


async def missed(exchange: Exchange, desks: Desks, engine: AsyncEngine, clock: Clock) -> list[News]:
    """What happened on the venue while nobody listened: to our open orders, and to anything else on the account.

    A trade alone does not say that its order has ended, so what belongs to an order on its way is left to the scan
    of that order. Raises ExchangeError when any part cannot be read.
    """
    news: list[News] = []
    underway = list(desks.unsettled())
    for record in underway:
        if record.state in (OrderState.OPEN, OrderState.PENDING_CANCEL):
            found = await scan(exchange, record, clock.now())
            if found is not None:
                news.append(News([*found.trades, *found.reports], order=record.id))
    ours = {record.id for record in underway} | {record.order.exchange_order_id for record in underway}
    facts: list[OrderReport | Trade] = list(await exchange.open_orders())
    since = await _watermark(engine, desks)
    for symbol in _symbols(desks):
        facts += await exchange.trades(symbol, since)
    others = [fact for fact in facts if fact.client_order_id not in ours and fact.exchange_order_id not in ours]
    news.append(News(others))
    return news


async def compare(exchange: Exchange, engine: AsyncEngine, account: str) -> list[Difference]:
    """The venue's balances against the ledger, to the last digit."""
    shown = {asset: balance.total for asset, balance in (await exchange.balances()).items()}
    async with engine.connect() as connection:
        booked = await load_holdings(connection, account)
    assets = sorted(shown.keys() | booked.keys())
    pairs = [Difference(asset, shown.get(asset, ZERO), booked.get(asset, ZERO)) for asset in assets]
    return [pair for pair in pairs if pair.venue != pair.books]


async def open_account(exchange: Exchange, desks: Desks) -> None:
    """Book what was on the account before us, once."""
    turn = desks.turn()
    posting = Posting(desks.account, None, "opening", turn.now)
    for asset, balance in (await exchange.balances()).items():
        posting.add("cash", asset, balance.total).add("capital", asset, -balance.total)
    turn.post(posting)
    turn.commit.add(OPEN_ACCOUNT, {"account": desks.account, "opened_at": turn.now})
    turn.audit("system", "account.open", desks.account, {})
    await desks.commit(turn)
    desks.opened_at = turn.now
    await desks.load()


async def accept(desks: Desks, differences: Sequence[Difference], subject: str) -> None:
    """Book the differences to the account itself because an operator says so."""
    turn = desks.turn()
    posting = Posting(desks.account, None, "accepted difference", turn.now)
    for difference in differences:
        change = difference.venue - difference.books
        posting.add("cash", difference.asset, change).add("suspense", difference.asset, -change)
    turn.post(posting)
    turn.audit(subject, "account.accept_difference", desks.account, {"differences": [str(d) for d in differences]})
    await desks.commit(turn)


def uncovered(free: Mapping[str, Decimal], account: str) -> str | None:
    """A sentence when somebody else used up what belongs to deployments."""
    for asset, amount in free.items():
        if amount < 0:
            return (
                f"{_plain(-amount)} {asset} that belong to deployments of account {account} were spent from outside; "
                "bring them back, or stop the deployments"
            )
    return None


async def _watermark(engine: AsyncEngine, desks: Desks) -> Millis:
    query = select(func.max(fills.c.time)).where(fills.c.account == desks.account)
    async with engine.connect() as connection:
        last = (await connection.execute(query)).scalar_one()
    return max(int(last) - OVERLAP if last is not None else 0, desks.opened_at)


def _symbols(desks: Desks) -> list[Symbol]:
    held = (symbol for desk in desks.desks.values() for symbol in (*desk.book.positions, *desk.book.targets))
    return list(dict.fromkeys(held))


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
