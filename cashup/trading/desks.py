"""All desks of one account in memory: what changes them is done in turns, and each turn is one commit.

Memory is a copy of the tables and runs ahead of them only between the start of a turn and its commit. When a commit
fails the copy is worthless; `load` reads it again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock
from cashup.errors import Conflict, IntegrityError, NotFound, UsageError
from cashup.orders.history import ENGINE, Source
from cashup.orders.ids import is_ours
from cashup.orders.journal import APPLIED, SURVEYED, FenceLost, Journal
from cashup.orders.patience import Patience
from cashup.orders.record import Record
from cashup.orders.state import AmendAnswered, CancelAnswered, Claimed, Event, Order, ProvenAbsent, apply
from cashup.orders.tables import orders
from cashup.storage.lines import Taken
from cashup.trading.book import Book
from cashup.trading.commands import By, Command
from cashup.trading.dealing import amend, cancel, conclude, place
from cashup.trading.desk import Desk
from cashup.trading.external import ExternalOrders
from cashup.trading.flatten import flatten
from cashup.trading.halts import CONTRADICTION, LATCH_HALTS, Scope
from cashup.trading.intents import TIME_TO_LIVE, Intent, Request, answer
from cashup.trading.ledger import Posting
from cashup.trading.loading import find_record, load_desks, load_free
from cashup.trading.loss_watch import LossWatch
from cashup.trading.mailbox import News
from cashup.trading.oversight import Oversight
from cashup.trading.prices import Prices
from cashup.trading.requests import AMEND_WITHIN, Amend, Cancel, IntentKind, Place, body_hash
from cashup.trading.risk_view import standing_view
from cashup.trading.rules import Rules
from cashup.trading.tables import intents
from cashup.trading.trips import load_closed
from cashup.trading.turn import Turn
from cashup.types import ZERO, Market, Millis, OrderReport, OrderRequest, OrderState, SendResult, Symbol, Trade

log = structlog.get_logger()

_REMEMBERED = 1_000


@dataclass(frozen=True, slots=True)
class Funding:
    """What a deployment gets of its account: `capital` in `quote`, and the spec with its limits."""

    deployment: str
    capital: Decimal
    quote: str
    spec: Mapping[str, Any]


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
        self._engine = engine
        self._journal = journal
        self._clock = clock
        self._prices = prices
        self._patience = patience
        self._emitted = emitted
        self._known: OrderedDict[str, Record] = OrderedDict()
        self.oversight = Oversight(account, prices)

    async def load(self) -> None:
        """Read everything from the tables."""
        async with self._engine.connect() as connection:
            now = self._clock.now()
            self.desks = await load_desks(connection, self.account, now)
            await self.oversight.load(connection, self.desks, now)
            self.free = await load_free(connection, self.account)
        await self.external.load()
        self.oversight.external = self.external.underway
        self._known.clear()
        for record in self.unsettled():
            self._remember(record)

    async def refresh(self) -> None:
        """Read what others may have changed: halts and limits."""
        async with self._engine.connect() as connection:
            await self.oversight.refresh(connection)

    async def watch(self, losses: LossWatch) -> None:
        """Look at what the desks are worth."""
        await self.refresh()
        oversight = self.oversight
        if await losses.look(list(oversight.equities()), oversight.limits, oversight.halts):
            await self.refresh()

    def risk(self) -> dict[str, dict[str, Any]]:
        """What risk says of each deployment now."""
        now = self._clock.now()
        marks = {name: {s: p for s in d.book.positions if (p := self._prices.of(s))} for name, d in self.desks.items()}
        return {
            name: standing_view(self.oversight.standing(name, marks[name], now), self.oversight.halts_of(name))
            for name in self.desks
        }

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

    async def commit(self, turn: Turn, attempt: tuple[str, int] | None = None) -> None:
        """Make the turn true. After any error memory must be loaded again."""
        if turn.empty:
            return
        commit = turn.finish()
        await self._journal.commit(commit, attempt=attempt)
        self._emitted()
        self.oversight.made(turn.new_orders.values())
        for record in turn.new_orders.values():
            self._remember(record)
        if turn.external:
            self.external.forget_ended()
            self.oversight.external = self.external.underway
        if turn.fills:
            self.booked_at = turn.now

    # -- what people and strategies ask for -----------------------------------------------------------------------

    async def submit(self, deployment: str, fence: int, request: Request) -> dict[str, Any]:
        """Take an intent; the answer says what was decided. Repeating it gives the same answer and does nothing.

        Raises Conflict when the key or the bar was used for something else, FenceLost when the attempt is not the
        newest one.
        """
        desk = self.desk(deployment)
        if desk.decided is not None and request.bar <= desk.decided:
            return await self._repeated(deployment, request)
        self.check_symbols(desk, request)
        turn = self.turn()
        turn.source = Source(f"attempt {fence} of {deployment}", f"intent {request.key}")
        intent = Intent(deployment, request, fence, turn.now, turn.now + TIME_TO_LIVE)
        desk.accept(intent, turn)
        if intent.orders:
            detail = {"bar": request.bar, "orders": [record.id for record in intent.orders]}
            turn.audit(f"attempt {fence} of {deployment}", "intent", f"{deployment}/{request.key}", detail)
        try:
            await self.commit(turn, (deployment, fence))
        except FenceLost:
            await self.load()
            raise
        except Taken:  # the key is taken
            await self.load()
            return await self._repeated(deployment, request)
        return intent.answer()

    async def command(self, deployment: str, request: Place | Cancel | Amend, by: By) -> dict[str, Any]:
        """Take a command about a single order; the answer says what was decided, or what became of it so far.

        Repeating it gives the stored answer and does nothing. Raises UsageError and NotFound, having stored nothing,
        Conflict when the key was used for something else, FenceLost when the attempt is not the newest one.
        """
        desk = self.desk(deployment)
        record = None
        if not isinstance(request, Place):
            record = await self._order_of(deployment, request.order)
            request = replace(request, order=record.id)
        turn = self.turn()
        turn.source = Source(by.subject, f"intent {request.key}")
        ttl = AMEND_WITHIN if isinstance(request, Amend) else TIME_TO_LIVE
        command = Command(deployment, request, by, turn.now, turn.now + ttl, None if record is None else record.id)
        self._deal(desk, command, record, turn)
        desk.advance(turn)
        turn.new_intents.append(command)
        turn.audit(by.subject, f"order.{request.kind}", f"{deployment}/{request.key}", request.body())
        desk.save(turn)
        attempt = None if by.fence is None else (deployment, by.fence)
        try:
            await self.commit(turn, attempt)
        except FenceLost:
            await self.load()
            raise
        except Taken:
            await self.load()
            return await self._stored(deployment, request.key, body_hash(request))
        return command.answer()

    def _deal(self, desk: Desk, command: Command, record: Record | None, turn: Turn) -> None:
        request = command.request
        if isinstance(request, Place):
            self.check_symbol(desk, request.symbol)
            place(desk, command, request, turn)
        elif isinstance(request, Cancel) and record is not None:
            cancel(desk, command, record, turn)
        elif isinstance(request, Amend) and record is not None:
            amend(desk, command, request, record, turn)

    async def _order_of(self, deployment: str, order: str) -> Record:
        """The deployment's order with this id, ours or the venue's. Raises NotFound."""
        record = self._known.get(order)
        if record is None:
            async with self._engine.connect() as connection:
                record = await find_record(connection, self.account, order, order)
        if record is None or record.deployment != deployment:
            raise NotFound(f"{deployment} has no order {order}")
        return record

    async def flatten(self, deployment: str) -> str | None:
        """Go on with selling all that a deployment holds; what it waits for, None when nothing is left to sell."""
        desk = self.desks.get(deployment)
        if desk is None:
            return None
        turn = self.turn()
        turn.source = Source("operator", "flatten")
        waits = flatten(desk, turn)
        await self.commit(turn)
        return waits

    def desk(self, deployment: str) -> Desk:
        """The desk of a deployment; raises NotFound when it was never given its capital."""
        desk = self.desks.get(deployment)
        if desk is None:
            raise NotFound(f"deployment {deployment} has no book on account {self.account}; start it first")
        return desk

    def check_symbols(self, desk: Desk, request: Request) -> None:
        """Raise UsageError for a symbol that the venue does not trade, or not against the book's currency."""
        for symbol in request.targets:
            self.check_symbol(desk, symbol)

    def check_symbol(self, desk: Desk, symbol: Symbol) -> None:
        """Raise UsageError for a symbol that the venue does not trade, or not against the book's currency."""
        market = self.markets.get(symbol)
        if market is None:
            like = [known for known in self.markets if known.replace("/", "") == symbol.replace("/", "").upper()]
            hint = f"; did you mean {like[0]}?" if like else ""
            raise UsageError(f"the venue of account {self.account} does not trade {symbol}{hint}")
        if market.quote != desk.quote:
            raise UsageError(f"{symbol} is paid in {market.quote}, the capital of {desk.deployment} is {desk.quote}")

    async def fund(self, funding: Funding) -> None:
        """Give a deployment its capital out of what is free on the account, or what its capital grew or shrank by.

        Raises Conflict when the money is not there.
        """
        desk = self.desks.get(funding.deployment)
        if desk is not None and desk.quote != funding.quote:
            raise Conflict(f"the book of {funding.deployment} is in {desk.quote}; use another name for {funding.quote}")
        change = funding.capital - (desk.capital if desk is not None else ZERO)
        self._check_cover(funding, change, desk)
        turn = self.turn()
        if desk is None:
            desk = Desk(funding.deployment, self.account, funding.quote, ZERO, Book(ZERO))
        desk.capital += change
        desk.book = Book(desk.book.cash + change, desk.book.positions, desk.book.targets, desk.book.fees)
        desk.rules = Rules.of(funding.spec)
        posting = Posting(self.account, funding.deployment, f"capital:{funding.deployment}", turn.now)
        turn.post(posting.add_to_account("cash", funding.quote, -change).add("cash", funding.quote, change))
        desk.save(turn)
        await self.commit(turn)
        self.desks[funding.deployment] = desk
        async with self._engine.connect() as connection:
            known = await load_closed(connection, {funding.deployment: desk.rules}, turn.now)
        desk.closed = known.get(funding.deployment, [])
        self.free[funding.quote] = self.free.get(funding.quote, ZERO) - change

    def _check_cover(self, funding: Funding, change: Decimal, desk: Desk | None) -> None:
        free = self.free.get(funding.quote, ZERO)
        if change > free:
            raise Conflict(
                f"{funding.deployment} asks for {change} {funding.quote}, and account {self.account} has {free} free; "
                "lower the capital or pay in more",
                code="capital_not_covered",
            )
        held = sum((record.reserved for record in desk.records.values()), ZERO) if desk is not None else ZERO
        if desk is not None and change < 0 and desk.book.cash - held + change < 0:
            raise Conflict(
                f"{funding.deployment} has {desk.book.cash} {funding.quote} in cash; "
                f"its capital cannot shrink by {-change}",
                code="capital_not_covered",
            )

    # -- what is learnt -------------------------------------------------------------------------------------------

    async def digest(self, news: Sequence[News]) -> None:
        """Apply everything in one turn, and let the intents go on where an order has ended."""
        turn = self.turn()
        touched: dict[str, Desk] = {}
        for item in news:
            turn.source = _source(item)
            for fact in item.facts:
                record = await self._record(fact, item.order)
                if record is None:
                    await self._external(fact, turn)
                    continue
                desk = touched[record.deployment] = self.desks[record.deployment]
                await self._learn(desk, record, fact, item, turn)
            turn.commit.add(APPLIED, *({"id": ident, "applied": True} for ident in item.inbox))
            if item.surveyed is not None:
                turn.commit.add(SURVEYED, {"account": self.account, "surveyed_at": item.surveyed})
        turn.source = ENGINE
        for desk in touched.values():
            conclude(desk, turn)
            desk.advance(turn)
            desk.save(turn)
        await self.commit(turn)

    async def order_of(self, report: OrderReport) -> Order | None:
        """The order of ours that a report is about, ended or not."""
        record = await self._record(report, None)
        return None if record is None else record.order

    def remembered(self, report: OrderReport) -> Order | None:
        """The order that has not ended and that a report is about, whoever made it."""
        external = self.external.underway.get(report.exchange_order_id)
        if external is not None:
            return external.order
        record = self._known.get(report.client_order_id or "") or self._known.get(report.exchange_order_id)
        return None if record is None or record.order.settled else record.order

    def end(self, report: OrderReport, turn: Turn) -> None:
        """An order has ended as `report` says, on somebody's word."""
        external = self.external.underway.get(report.exchange_order_id)
        if external is not None:
            external.learn(report, turn)
        for desk in self.desks.values():
            record = desk.records.get(report.client_order_id or "")
            if record is not None:
                desk.learn(record, report, turn)
                desk.save(turn)

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

    async def claim(self, admit: Callable[[Symbol, str], float]) -> list[OrderRequest]:
        """Claim the orders that wait to be sent; the requests that must now be written, once each.

        An order that `admit` does not let through yet is not claimed: its fence would run while it waits. `pause` is
        then the number of seconds after which the first of them may be.
        """
        waiting, pauses = {}, []
        for record in self.unsettled():
            if record.state is OrderState.PENDING_SEND:
                seconds = admit(record.order.symbol, record.id)
                if seconds > 0:
                    pauses.append(seconds)
                else:
                    waiting[record.id] = record
        self.pause = min(pauses, default=None)
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

    async def claim_amendments(self) -> list[Record]:
        """Claim every amendment that waits to be sent; the orders whose amendment must now be written, once each."""
        waiting = {record.id: record for record in self.unsettled() if _may_amend(record)}
        if not waiting:
            return []
        now = self._clock.now()
        before = now + self._patience.fence
        claimed = await self._journal.claim_amendments(list(waiting), now, before)
        for ident in claimed:
            waiting[ident].amend_before = before
        return [record for ident, record in waiting.items() if ident in claimed]

    async def _learn(self, desk: Desk, record: Record, fact: Event, item: News, turn: Turn) -> None:
        if isinstance(fact, ProvenAbsent):
            record.evidence = item.evidence
        filled = record.order.filled
        try:
            desk.learn(record, fact, turn)
        except IntegrityError as error:
            await self._contradicted(fact, str(error), turn)
            return
        self._remember(record)
        if not record.order.settled:
            desk.records[record.id] = record
        if record.order.contradicted and record.order.filled > filled:
            self._stop(
                f"order {record.id} filled on the venue although it was held to be {record.state}; "
                "it is booked, and the account stays blocked until somebody has looked",
                turn,
            )

    async def _contradicted(self, fact: Event, problem: str, turn: Turn) -> None:
        """News that cannot be true of our order: what was traded is booked to the account itself, and it stops."""
        log.error("the venue contradicts an order", account=self.account, problem=problem)
        told = fact.answer if isinstance(fact, CancelAnswered | AmendAnswered) else fact
        news = told.report if isinstance(told, SendResult) else told
        if news is not None:
            await self._external(news, turn)
        self._stop(problem, turn)

    def _stop(self, problem: str, turn: Turn) -> None:
        """Nothing more is sent for the account until an operator has looked; latched in the same commit."""
        self.alarm = problem
        row = {"scope": Scope.ACCOUNT.value, "name": self.account, "code": CONTRADICTION, "by": "system"}
        turn.commit.writes[LATCH_HALTS] = [{**row, "state": "halted", "reason": problem, "at": turn.now}]

    async def _record(self, fact: Event, order: str | None) -> Record | None:
        """The order that a fact is about, from memory or from the tables; None when it is none of ours."""
        ours, theirs = order, ""
        if isinstance(fact, OrderReport | Trade):
            ours, theirs = order or fact.client_order_id, fact.exchange_order_id
        found = self._known.get(ours or "") or self._known.get(theirs)
        if found is None:
            async with self._engine.connect() as connection:
                found = await find_record(connection, self.account, ours, theirs)
        if found is not None:
            self._remember(found)
        return found

    async def _external(self, fact: Event, turn: Turn) -> None:
        """Somebody else's order or trade on the same account."""
        if not isinstance(fact, OrderReport | Trade):
            return
        if is_ours(fact.client_order_id):
            self.alarm = (
                f"the venue shows order {fact.client_order_id}, which looks like ours but is not in this database; "
                "another CashUp trades this account: give each its own"
            )
        for asset, change in (await self.external.learn(fact, self.opened_at, turn)).items():
            self.free[asset] = self.free.get(asset, ZERO) + change

    def _remember(self, record: Record) -> None:
        for name in (record.id, record.order.exchange_order_id):
            if name is not None:
                self._known[name] = record
                self._known.move_to_end(name)
        while len(self._known) > _REMEMBERED:
            name, oldest = next(iter(self._known.items()))
            if not oldest.order.settled:
                self._known.move_to_end(name)
                break
            del self._known[name]

    async def _repeated(self, deployment: str, request: Request) -> dict[str, Any]:
        """The stored answer to targets that were decided before."""
        try:
            return await self._stored(deployment, request.key, request.body_hash)
        except NotFound:
            raise Conflict(
                f"{deployment} has decided a later bar already; bar {request.bar} is not taken", code="stale_bar"
            ) from None

    async def _stored(self, deployment: str, key: str, body_hash: str) -> dict[str, Any]:
        """The answer to the intent with this key as it stands. Raises NotFound, and Conflict for another body."""
        query = select(intents).where(intents.c.deployment == deployment, intents.c.key == key)
        made = select(orders.c.client_order_id).where(orders.c.deployment == deployment, orders.c.intent == key)
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).mappings().first()
            ids = list((await connection.execute(made.order_by(orders.c.created_at))).scalars())
        if row is None:
            raise NotFound(f"{deployment} has no intent {key}")
        if row["body_hash"] != body_hash:
            what = "targets" if row["kind"] == IntentKind.TARGET else "content"
            raise Conflict(f"intent {key} of {deployment} exists already with other {what}")
        return answer(dict(row), ids or ([row["body"]["order"]] if "order" in row["body"] else []))


def _may_amend(record: Record) -> bool:
    return record.state is OrderState.OPEN and record.amendment_waits


def _source(item: News) -> Source:
    """Where the news comes from, for the history of the orders it changes."""
    detail: dict[str, Any] = {"frames": list(item.inbox)} if item.inbox else {}
    if item.evidence is not None:
        detail["evidence"] = item.evidence
    return Source(item.actor, item.cause, detail)
