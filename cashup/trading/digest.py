"""The digest: what was learnt becomes one turn of the account, and the intents go on where an order has ended.

News of an order go to its desk; those of an order that nobody here made are booked to the account itself. What cannot
be true of an order of ours stops the account until an operator has looked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from cashup.errors import IntegrityError
from cashup.orders.history import ENGINE, Source
from cashup.orders.ids import is_ours
from cashup.orders.journal import APPLIED, SURVEYED
from cashup.orders.record import Record
from cashup.orders.state import AmendAnswered, CancelAnswered, Event, ProvenAbsent
from cashup.trading.dealing import conclude
from cashup.trading.desk import Desk
from cashup.trading.desks import Desks
from cashup.trading.halts import CONTRADICTION, LATCH_HALTS, Scope
from cashup.trading.mailbox import News
from cashup.trading.turn import Turn
from cashup.types import OrderReport, SendResult, Trade

log = structlog.get_logger()


async def digest(desks: Desks, news: Sequence[News]) -> None:
    """Apply everything in one turn. After any error memory must be loaded again."""
    turn = desks.turn()
    touched: dict[str, Desk] = {}
    for item in news:
        turn.source = _source(item)
        for fact in item.facts:
            record = await _record(desks, fact, item.order)
            if record is None:
                await _learn_external(desks, fact, turn)
                continue
            desk = touched[record.deployment] = desks.desks[record.deployment]
            await _learn(desks, desk, record, fact, item, turn)
        turn.commit.add(APPLIED, *({"id": ident, "applied": True} for ident in item.inbox))
        if item.surveyed is not None:
            turn.commit.add(SURVEYED, {"account": desks.account, "surveyed_at": item.surveyed})
    turn.source = ENGINE
    for desk in touched.values():
        conclude(desk, turn)
        desk.advance(turn)
        desk.save(turn)
    await desks.commit(turn)


async def _record(desks: Desks, fact: Event, order: str | None) -> Record | None:
    """The order that a fact is about; None when it is none of ours."""
    if isinstance(fact, OrderReport | Trade):
        return await desks.known.find(order or fact.client_order_id, fact.exchange_order_id)
    return await desks.known.find(order, None)


async def _learn(desks: Desks, desk: Desk, record: Record, fact: Event, item: News, turn: Turn) -> None:
    if isinstance(fact, ProvenAbsent):
        record.evidence = item.evidence
    filled = record.order.filled
    try:
        desk.learn(record, fact, turn)
    except IntegrityError as error:
        await _contradicted(desks, fact, str(error), turn)
        return
    desks.known.remember(record)
    if not record.order.settled:
        desk.records[record.id] = record
    if record.order.contradicted and record.order.filled > filled:
        _stop(
            desks,
            f"order {record.id} filled on the venue although it was held to be {record.state}; "
            "it is booked, and the account stays blocked until somebody has looked",
            turn,
        )


async def _learn_external(desks: Desks, fact: Event, turn: Turn) -> None:
    """Somebody else's order or trade on the same account."""
    if not isinstance(fact, OrderReport | Trade):
        return
    if is_ours(fact.client_order_id):
        desks.alarm = (
            f"the venue shows order {fact.client_order_id}, which looks like ours but is not in this database; "
            "another CashUp trades this account: give each its own"
        )
    await desks.external.learn(fact, desks.opened_at, turn)


async def _contradicted(desks: Desks, fact: Event, problem: str, turn: Turn) -> None:
    """News that cannot be true of our order: what was traded is booked to the account itself, and it stops."""
    log.error("the venue contradicts an order", account=desks.account, problem=problem)
    told = fact.answer if isinstance(fact, CancelAnswered | AmendAnswered) else fact
    news = told.report if isinstance(told, SendResult) else told
    if news is not None:
        await _learn_external(desks, news, turn)
    _stop(desks, problem, turn)


def _stop(desks: Desks, problem: str, turn: Turn) -> None:
    """Nothing more is sent for the account until an operator has looked; latched in the same commit."""
    desks.alarm = problem
    row = {"scope": Scope.ACCOUNT.value, "name": desks.account, "code": CONTRADICTION, "by": "system"}
    turn.commit.writes[LATCH_HALTS] = [{**row, "state": "halted", "reason": problem, "at": turn.now}]


def _source(item: News) -> Source:
    """Where the news comes from, for the history of the orders it changes."""
    detail: dict[str, Any] = {"frames": list(item.inbox)} if item.inbox else {}
    if item.evidence is not None:
        detail["evidence"] = item.evidence
    return Source(item.actor, item.cause, detail)
