"""The intake of an account: where strategies' targets and people's commands come in, once per (deployment, key).

Whatever is taken is committed with the answer to it; asked again with the same key, the answer is read from the tables.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import select

from cashup.errors import Conflict, NotFound, UsageError
from cashup.orders.history import Source
from cashup.orders.journal import FenceLost
from cashup.orders.record import Record
from cashup.orders.tables import orders
from cashup.storage.lines import Taken
from cashup.trading.commands import By, Command
from cashup.trading.dealing import amend, cancel, place
from cashup.trading.desk import Desk
from cashup.trading.desks import Desks
from cashup.trading.intents import TIME_TO_LIVE, Intent, Request, answer
from cashup.trading.requests import AMEND_WITHIN, Amend, Cancel, IntentKind, OrderIntent, Place, body_hash
from cashup.trading.tables import deployments, intents
from cashup.trading.turn import Turn
from cashup.types import Symbol
from cashup.users.audit import record


async def submit(desks: Desks, deployment: str, fence: int, request: Request) -> dict[str, Any]:
    """Take the targets of a bar; the answer says what was decided. Repeating it gives the same answer and does nothing.

    Raises Conflict when the key or the bar was used for something else, or the deployment is paused; FenceLost when the
    attempt is not the newest one.
    """
    desk = desks.desk(deployment)
    subject = f"attempt {fence} of {deployment}"
    if desk.decided is not None and request.bar <= desk.decided:
        return await _repeated(desks, deployment, request, subject)
    for symbol in request.targets:
        _check_symbol(desks, desk, symbol)
    turn = desks.turn()
    turn.source = Source(subject, f"intent {request.key}")
    intent = Intent(deployment, request, fence, turn.now, turn.now + TIME_TO_LIVE)
    desk.accept(intent, turn)
    if intent.orders:
        detail = {"bar": request.bar, "orders": [record.id for record in intent.orders]}
        turn.audit(subject, "intent", f"{deployment}/{request.key}", detail)
    if await _taken(desks, turn, (deployment, fence)):
        return await _repeated(desks, deployment, request, subject)
    return intent.answer()


async def command(desks: Desks, deployment: str, request: OrderIntent, by: By) -> dict[str, Any]:
    """Take a command about a single order; the answer says what was decided, or what became of it so far.

    Repeating it gives the stored answer and does nothing. Raises UsageError and NotFound, having stored nothing,
    Conflict when the key was used for something else, or the worker's deployment is paused, which holds cancels of
    nobody; FenceLost when the attempt is not the newest one.
    """
    desk = desks.desk(deployment)
    record = None
    if not isinstance(request, Place):
        record = await _order_of(desks, deployment, request.order)
        request = replace(request, order=record.id)
    turn = desks.turn()
    turn.source = Source(by.subject, f"intent {request.key}")
    ttl = AMEND_WITHIN if isinstance(request, Amend) else TIME_TO_LIVE
    taken = Command(deployment, request, by, turn.now, turn.now + ttl, None if record is None else record.id)
    _deal(desks, desk, taken, record, turn)
    desk.advance(turn)
    turn.new_intents.append(taken)
    turn.audit(by.subject, f"order.{request.kind}", f"{deployment}/{request.key}", request.body())
    desk.save(turn)
    attempt = None if by.fence is None else (deployment, by.fence)
    if await _taken(desks, turn, attempt, paused_too=isinstance(request, Cancel)):
        return await _stored(desks, deployment, request.key, body_hash(request), by.subject)
    return taken.answer()


def _deal(desks: Desks, desk: Desk, command: Command, record: Record | None, turn: Turn) -> None:
    request = command.request
    if isinstance(request, Place):
        _check_symbol(desks, desk, request.symbol)
        place(desk, command, request, turn)
    elif isinstance(request, Cancel) and record is not None:
        cancel(desk, command, record, turn)
    elif isinstance(request, Amend) and record is not None:
        amend(desk, command, request, record, turn)


def _check_symbol(desks: Desks, desk: Desk, symbol: Symbol) -> None:
    """Raise UsageError for a symbol that the venue does not trade, or not against the book's currency."""
    market = desks.markets.get(symbol)
    if market is None:
        like = [known for known in desks.markets if known.replace("/", "") == symbol.replace("/", "").upper()]
        hint = f"; did you mean {like[0]}?" if like else ""
        raise UsageError(f"the venue of account {desks.account} does not trade {symbol}{hint}")
    if market.quote != desk.quote:
        raise UsageError(f"{symbol} is paid in {market.quote}, the capital of {desk.deployment} is {desk.quote}")


async def _order_of(desks: Desks, deployment: str, order: str) -> Record:
    """The deployment's order with this id, ours or the venue's. Raises NotFound."""
    record = await desks.known.find(order, order)
    if record is None or record.deployment != deployment:
        raise NotFound(f"{deployment} has no order {order}")
    return record


async def _taken(desks: Desks, turn: Turn, attempt: tuple[str, int] | None, *, paused_too: bool = False) -> bool:
    """Commit the turn; True when its key was taken before, and nothing was written.

    Raises Conflict when the deployment is paused, FenceLost when the attempt is not the newest one: nothing is written
    then either.
    """
    try:
        await desks.commit(turn, attempt, paused_too=paused_too)
    except FenceLost:
        await desks.load()
        if attempt is not None and await _paused(desks, *attempt):
            raise Conflict(
                f"{attempt[0]} is paused and decides nothing; `cashup live resume {attempt[0]}` lets it go on",
                code="paused",
            ) from None
        raise
    except Taken:
        await desks.load()
        return True
    return False


async def _paused(desks: Desks, deployment: str, fence: int) -> bool:
    """True when it is the newest attempt, and is only to wait."""
    mine = (deployments.c.name == deployment) & (deployments.c.fence == fence) & (deployments.c.desired == "paused")
    async with desks.engine.connect() as connection:
        return (await connection.execute(select(deployments.c.name).where(mine))).first() is not None


async def _repeated(desks: Desks, deployment: str, request: Request, subject: str) -> dict[str, Any]:
    """The stored answer to targets that were decided before."""
    try:
        return await _stored(desks, deployment, request.key, request.body_hash, subject)
    except NotFound:
        raise Conflict(
            f"{deployment} has decided a later bar already; bar {request.bar} is not taken", code="stale_bar"
        ) from None


async def _stored(desks: Desks, deployment: str, key: str, body_hash: str, subject: str) -> dict[str, Any]:
    """The answer to the intent with this key as it stands.

    Raises NotFound, and Conflict for another body, of which the audit trail then has a row.
    """
    query = select(intents).where(intents.c.deployment == deployment, intents.c.key == key)
    made = select(orders.c.client_order_id).where(orders.c.deployment == deployment, orders.c.intent == key)
    async with desks.engine.connect() as connection:
        row = (await connection.execute(query)).mappings().first()
        ids = list((await connection.execute(made.order_by(orders.c.created_at))).scalars())
    if row is None:
        raise NotFound(f"{deployment} has no intent {key}")
    if row["body_hash"] != body_hash:
        what = "targets" if row["kind"] == IntentKind.TARGET else "content"
        async with desks.engine.begin() as connection:
            await record(
                connection,
                at=desks.turn().now,
                subject=subject,
                action="intent.conflict",
                target=f"{deployment}/{key}",
                detail={"stored": row["body_hash"], "sent": body_hash},
            )
        raise Conflict(f"intent {key} of {deployment} exists already with other {what}")
    return answer(dict(row), ids or ([row["body"]["order"]] if "order" in row["body"] else []))
