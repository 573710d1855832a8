"""All desks of one account in memory: what changes them is done in turns, and each turn is one commit.

Memory is a copy of the tables and runs ahead of them only between the start of a turn and its commit. When a commit
fails the copy is worthless; `load` reads it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock
from cashup.errors import NotFound
from cashup.orders.journal import Journal
from cashup.orders.patience import Patience
from cashup.orders.record import Record
from cashup.orders.state import Claimed, Order, apply
from cashup.storage.lines import Lines
from cashup.trading.dealing import conclude
from cashup.trading.desk import Desk
from cashup.trading.external import ExternalOrders
from cashup.trading.known import KnownRecords
from cashup.trading.loading import load_desks, load_free
from cashup.trading.loss_watch import LossWatch
from cashup.trading.oversight import Oversight
from cashup.trading.prices import Prices
from cashup.trading.turn import Turn
from cashup.types import ZERO, Market, Millis, OrderReport, OrderRequest, OrderState, Symbol

Admit = Callable[[Symbol, str], float]
"""`Exchange.admit`."""


class Desks:
    """The desks of `account`, written under the lease that `journal` holds."""

    def __init__(
        self,
        account: str,
        engine: AsyncEngine,
        journal: Journal,
        clock: Clock,
        prices: Prices,
        markets: Mapping[Symbol, Market],
        patience: Patience,
        lines: Lines,
        emitted: Callable[[], None],
    ) -> None:
        self.account = account
        self.markets = markets
        self.desks: dict[str, Desk] = {}
        self.free: dict[str, Decimal] = {}
        self.external = ExternalOrders(engine, account)
        self.opened_at: Millis = 0
        self.booked_at: Millis = 0
        self.alarm: str | None = None
        self.pause: float | None = None
        self.engine = engine
        self.known = KnownRecords(engine, account)
        self.oversight = Oversight(account, prices, lines)
        self._journal = journal
        self._clock = clock
        self._prices = prices
        self._patience = patience
        self._emitted = emitted

    async def load(self) -> None:
        """Read everything from the tables."""
        async with self.engine.connect() as connection:
            now = self._clock.now()
            self.desks = await load_desks(connection, self.account, now)
            await self.oversight.load(connection, self.desks, now)
            self.free = await load_free(connection, self.account)
        await self.refresh()  # not above: who holds a connection while he waits for another may wait for ever
        await self.external.load()
        self.oversight.external = self.external.underway
        self.known.begin(self.unsettled())

    async def refresh(self) -> None:
        """Read what others may have changed: halts and limits."""
        await self.oversight.refresh()

    async def watch(self, losses: LossWatch) -> None:
        """Look at what the desks are worth."""
        await self.refresh()
        oversight = self.oversight
        if await losses.look(list(oversight.equities()), oversight.limits, oversight.halts):
            await self.refresh()

    def unsettled(self) -> Iterator[Record]:
        """Every order that has not ended, or of which trades are missing."""
        for desk in self.desks.values():
            yield from desk.records.values()

    @property
    def busy(self) -> bool:
        """True while something waits for its moment."""
        return any(desk.busy for desk in self.desks.values())

    def frozen(self) -> frozenset[Symbol]:
        """The symbols in which some order of the account may or may not be on the venue: nothing is added there."""
        return frozenset(r.order.symbol for r in self.unsettled() if r.state is OrderState.UNKNOWN)

    def turn(self) -> Turn:
        """A new turn, now."""
        now = self._clock.now()
        standing = self.oversight.at(now)
        return Turn(self.account, now, self.markets, self._prices.of, self._patience, standing, self.frozen)

    async def commit(self, turn: Turn, attempt: tuple[str, int] | None = None, *, paused_too: bool = False) -> None:
        """Make the turn true. After any error memory must be loaded again."""
        if turn.empty:
            return
        commit = turn.finish()
        await self._journal.commit(commit, attempt=attempt, paused_too=paused_too)
        self._emitted()
        self._follow(turn.of_account)
        self.oversight.made(turn.new_orders.values())
        for record in turn.new_orders.values():
            self.known.remember(record)
        if turn.external:
            self.external.forget_ended()
            self.oversight.external = self.external.underway
        if turn.fills:
            self.booked_at = turn.now

    def _follow(self, posted: Mapping[str, Decimal]) -> None:
        """What is free on the account has changed by what was posted to the account itself."""
        for asset, amount in posted.items():
            self.free[asset] = self.free.get(asset, ZERO) + amount

    def desk(self, deployment: str) -> Desk:
        """The desk of a deployment; raises NotFound when it was never given its capital."""
        desk = self.desks.get(deployment)
        if desk is None:
            raise NotFound(f"deployment {deployment} has no book on account {self.account}; start it first")
        return desk

    def remembered(self, report: OrderReport) -> Order | None:
        """The order that has not ended and that a report is about, whoever made it."""
        external = self.external.underway.get(report.exchange_order_id)
        if external is not None:
            return external.order
        record = self.known.get(report.client_order_id, report.exchange_order_id)
        return None if record is None or record.order.settled else record.order

    async def tick(self) -> None:
        """Let time pass: give up what ran out of it, and go on with intents that waited for a moment or a price."""
        turn = self.turn()
        for desk in self.desks.values():
            waiting = desk.busy
            desk.lapse(turn)
            conclude(desk, turn)
            desk.advance(turn)
            if waiting and (turn.changed_intents or turn.new_orders or turn.changed_orders):
                desk.save(turn)
        await self.commit(turn)

    async def lapse(self) -> None:
        """Give up orders that were never sent and have run out of time."""
        turn = self.turn()
        for desk in self.desks.values():
            desk.lapse(turn)
            conclude(desk, turn)
            if turn.changed_orders:
                desk.save(turn)
        await self.commit(turn)

    async def claim(self, admit: Admit) -> list[OrderRequest]:
        """Claim the orders that wait to be sent; the requests that must now be written, once each.

        An order that `admit` does not let through yet is not claimed: its fence would run while it waits. `pause` is
        then the number of seconds after which the first of them may be.
        """
        self.pause = None
        unsent = (record for record in self.unsettled() if record.state is OrderState.PENDING_SEND)
        waiting = self._admitted(unsent, admit)
        if not waiting:
            return []
        now = self._clock.now()
        claimed = await self._journal.claim(list(waiting), now, now + self._patience.fence)
        if len(claimed) < len(waiting):
            await self._give_up_held_back([record for ident, record in waiting.items() if ident not in claimed])
        requests = []
        for ident in waiting:
            if ident in claimed:
                record = waiting[ident]
                record.order = apply(record.order, Claimed())
                record.claimed_at, record.send_before = now, now + self._patience.fence
                requests.append(record.request(expires_at=record.send_before))
        return requests

    async def _give_up_held_back(self, records: Sequence[Record]) -> None:
        """Give up what was made before a new halt was known here: it is not sent when the halt is lifted either."""
        await self.refresh()
        turn = self.turn()
        for record in records:
            halt = self.oversight.holding(record)
            if halt is not None:
                desk = self.desks[record.deployment]
                desk.give_up(record, f"held back: {halt.reason}", turn)
                conclude(desk, turn)
                desk.advance(turn)
                desk.save(turn)
        await self.commit(turn)

    async def claim_amendments(self, admit: Admit) -> list[Record]:
        """Claim every amendment that waits to be sent; the orders whose amendment must now be written, once each.

        `admit` is asked as for an order, by the name under which the amendment is written. Call it after `claim`.
        """
        waiting = self._admitted(filter(_may_amend, self.unsettled()), admit)
        if not waiting:
            return []
        now = self._clock.now()
        before = now + self._patience.fence
        claimed = await self._journal.claim_amendments(list(waiting), now, before)
        for ident in claimed:
            waiting[ident].amend_before = before
        return [record for ident, record in waiting.items() if ident in claimed]

    def _admitted(self, records: Iterable[Record], admit: Admit) -> dict[str, Record]:
        """Those that the venue lets in now; `pause` falls to what the first of the others must wait."""
        admitted = {}
        for record in records:
            seconds = admit(record.order.symbol, record.name_at_venue)
            if seconds > 0:
                self.pause = seconds if self.pause is None else min(self.pause, seconds)
            else:
                admitted[record.id] = record
        return admitted


def _may_amend(record: Record) -> bool:
    return record.state is OrderState.OPEN and record.amendment_waits
