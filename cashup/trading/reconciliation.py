"""Reconciliation: an account's orders, trades and balances are compared with the venue's.

The same steps are taken after a start, after a reconnect, and when something disagreed while the account traded; while
they last nothing is sent. `glance` looks beside the turns of an account that trades. Nothing is corrected here: a
difference is put into words, and only an operator may accept it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock
from cashup.exchanges.base import Exchange
from cashup.orders.history import Source
from cashup.orders.journal import Write
from cashup.orders.tables import account_leases
from cashup.trading.desks import Desks
from cashup.trading.differences import Difference, OrderDifference, compare, differences, plain, totals
from cashup.trading.digest import digest
from cashup.trading.errands import Errands
from cashup.trading.ledger import Posting
from cashup.trading.mailbox import Mailbox, News
from cashup.trading.survey import Survey, survey, trades_of
from cashup.trading.turn import Turn
from cashup.types import Millis, OrderReport, OrderState, ResultClass, SendResult

log = structlog.get_logger()

OPEN_ACCOUNT = Write("open_account", account_leases, ("opened_at",), keys=("account",), mode="update")

_TICK_SECONDS = 0.25
_MOMENT_SECONDS = 0.05
_SETTLE_SECONDS = 0.2
_LAG_SECONDS = 1.0
_COMPARISONS = 5
_GLANCES = 3
_OPEN_ENDED = (OrderState.SENDING, OrderState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one comparison found. `cause` is why it was made: start, reconnect, or running."""

    at: Millis
    cause: str
    resting: int
    trades: int
    differences: Sequence[Difference | OrderDifference]

    @property
    def problem(self) -> str | None:
        """The differences as a sentence, if there are any."""
        return "; ".join(map(str, self.differences)) or None

    def to_json(self) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "at": self.at,
            "cause": self.cause,
            "clean": not self.differences,
            "resting_orders": self.resting,
            "missed_trades": self.trades,
            "differences": [difference.to_json() for difference in self.differences],
        }


class Reconciler:
    """Brings the books of one account and its venue together. `between` does what may be done meanwhile."""

    def __init__(
        self,
        exchange: Exchange,
        engine: AsyncEngine,
        clock: Clock,
        desks: Desks,
        mailbox: Mailbox,
        errands: Errands,
        between: Callable[[], Awaitable[None]],
    ) -> None:
        self._exchange = exchange
        self._engine = engine
        self._clock = clock
        self._desks = desks
        self._mailbox = mailbox
        self._errands = errands
        self._between = between

    async def until(self, connected: asyncio.Event, seconds: float) -> bool:
        """Learn what comes in, and do what may be done meanwhile, until the stream is connected.

        False when that takes longer than `seconds`.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        while not connected.is_set():
            if asyncio.get_running_loop().time() > deadline:
                return False
            await self.digest()
            await self._between()
            self._errands.follow(self._desks.unsettled())
            await self._mailbox.wait(_MOMENT_SECONDS)
        return True

    async def run(self, cause: str) -> Comparison:
        """Orders, trades, balances. Call it while nothing is sent. Raises ExchangeError while the venue is not read."""
        await self._settle()
        found = await self._survey()
        if not self._desks.opened_at:
            await open_account(self._exchange, self._desks)
        return await self._compare(cause, found)

    async def glance(self) -> bool:
        """Look at the venue while the account trades; False when something disagrees and must be looked at in peace.

        What the balances show may not be booked yet, or be older than what is: they agree with the books when the books
        said the same at any time around. Raises ExchangeError while the venue cannot be read.
        """
        found = await survey(self._exchange, self._desks, self._engine, self._clock)
        self._mailbox.put(found.news)
        if found.differences:
            return False
        for _ in range(_GLANCES):
            shown = await totals(self._exchange)
            await asyncio.sleep(_SETTLE_SECONDS)
            now = self._clock.now()
            if all(d.stale for d in await differences(self._engine, self._desks.account, shown, now)):
                return True
        return False

    async def digest(self) -> None:
        """Digest what has come in."""
        while news := self._mailbox.peek():
            await digest(self._desks, news)
            self._mailbox.drop(len(news))

    async def look(self) -> Comparison:
        """Compare once, as things stand."""
        found = await self._survey()
        return self._comparison("asked", found, await self._balances(found))

    async def _settle(self) -> None:
        """Digest news until the fate of every order that was sent is known."""
        while True:
            await self.digest()
            await self._between()
            if not any(r.state in _OPEN_ENDED or r.order.missing > 0 for r in self._desks.unsettled()):
                return
            self._errands.follow(self._desks.unsettled())
            await self._mailbox.wait(_TICK_SECONDS)

    async def _survey(self) -> Survey:
        found = await survey(self._exchange, self._desks, self._engine, self._clock)
        self._mailbox.put(found.news)
        await self._settle()
        return found

    async def _compare(self, cause: str, found: Survey) -> Comparison:
        """Compare until everything agrees; lists and balances may lag behind the trades."""
        left = _COMPARISONS
        while True:
            disagree = await self._balances(found)
            comparison = self._comparison(cause, found, disagree)
            if not comparison.differences:
                return comparison
            if not found.differences and all(difference.stale for difference in disagree):
                log.warning("balances lag behind the trades", account=self._desks.account)
                await asyncio.sleep(_LAG_SECONDS)
                continue
            left -= 1
            if left == 0:
                return comparison
            await asyncio.sleep(_SETTLE_SECONDS)
            if found.differences or left == 1:
                found = await self._survey()
                await self._unseen_markets(disagree)

    async def _balances(self, found: Survey) -> list[Difference]:
        await self.digest()
        return await compare(self._exchange, self._engine, self._desks.account, self._clock.now())

    def _comparison(self, cause: str, found: Survey, disagree: Sequence[Difference]) -> Comparison:
        both: list[Difference | OrderDifference] = [*found.differences, *disagree]
        return Comparison(self._clock.now(), cause, found.resting, found.trades, both)

    async def _unseen_markets(self, disagree: Iterable[Difference]) -> None:
        """Somebody may have traded the assets that differ in a market that was never looked at."""
        since = max(self._clock.now() - _UNSEEN, self._desks.opened_at)
        assets = [difference.asset for difference in disagree]
        trades = await trades_of(self._exchange, self._desks, self._engine, assets, since)
        if trades:
            self._mailbox.put(News(trades, cause="reconciliation"))
            await self._settle()


_UNSEEN: Millis = 7 * 86_400_000


def abandoned(desks: Desks) -> list[News]:
    """Orders that were claimed by a process that is gone: whether they were written nobody knows."""
    lost = SendResult(ResultClass.UNKNOWN, message="the gateway stopped while the order was being sent")
    sending = [record for record in desks.unsettled() if record.state is OrderState.SENDING]
    return [News([lost], order=record.id, actor="gateway", cause="restart") for record in sending]


async def open_account(exchange: Exchange, desks: Desks) -> None:
    """Book what was on the account before us, once."""
    turn = desks.turn()
    posting = Posting(desks.account, None, "opening", turn.now)
    for asset, amount in (await totals(exchange)).items():
        posting.add("cash", asset, amount).add("capital", asset, -amount)
    turn.post(posting)
    turn.commit.add(OPEN_ACCOUNT, {"account": desks.account, "opened_at": turn.now})
    turn.audit("system", "account.open", desks.account, {})
    await desks.commit(turn)
    desks.opened_at = turn.now
    await desks.load()


async def accept(desks: Desks, found: Sequence[Difference | OrderDifference], subject: str) -> None:
    """Make the books say what the venue says, because an operator decides so.

    What is only stale is left alone, and so is an order that still rests on the venue: it must be cancelled there.
    """
    turn = desks.turn()
    turn.source = Source(subject, "accepted difference")
    posting = Posting(desks.account, None, "accepted difference", turn.now)
    for difference in found:
        if isinstance(difference, OrderDifference):
            if difference.venue == "unknown":
                _end(desks, _gone(difference, subject, turn.now), turn)
        elif not difference.stale:
            change = difference.venue - difference.books
            posting.add("cash", difference.asset, change).add("suspense", difference.asset, -change)
    turn.post(posting)
    turn.audit(subject, "account.accept_difference", desks.account, {"differences": [d.to_json() for d in found]})
    await desks.commit(turn)


def uncovered(free: Mapping[str, Decimal], account: str) -> str | None:
    """A sentence when somebody else used up what belongs to deployments."""
    for asset, amount in free.items():
        if amount < 0:
            return (
                f"{plain(-amount)} {asset} that belong to deployments of account {account} were spent from outside; "
                "bring them back, or stop the deployments"
            )
    return None


def _end(desks: Desks, report: OrderReport, turn: Turn) -> None:
    external = desks.external.underway.get(report.exchange_order_id)
    if external is not None:
        external.learn(report, turn)
    for desk in desks.desks.values():
        record = desk.records.get(report.client_order_id or "")
        if record is not None:
            desk.learn(record, report, turn)
            desk.save(turn)


def _gone(difference: OrderDifference, subject: str, now: Millis) -> OrderReport:
    """The word of the operator that an order has ended with what it had filled."""
    order = difference.order
    return OrderReport(
        client_order_id=order.client_order_id,
        exchange_order_id=order.exchange_order_id or "",
        symbol=order.symbol,
        side=order.side,
        filled=order.filled,
        done=True,
        reason=f"accepted as gone by {subject}",
        updated_at=now,
    )
