"""Reading an account's desks back from the tables: after a start, after an error, whenever memory cannot be trusted."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal

from sqlalchemy import RowMapping, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from cashup.orders.record import Record, read
from cashup.orders.tables import fills, orders
from cashup.trading.book import Book, Position
from cashup.trading.commands import read_command
from cashup.trading.desk import Desk
from cashup.trading.intents import Intent, IntentState, Request
from cashup.trading.ledger import HOLDINGS
from cashup.trading.planner import Sizing
from cashup.trading.requests import IntentKind
from cashup.trading.risk import Action, Decision
from cashup.trading.rules import Rules
from cashup.trading.tables import books, deployments, intents, ledger_entries, positions
from cashup.trading.trips import load_closed, load_trips
from cashup.types import Millis, OrderState, Symbol

_ENDED = [state.value for state in OrderState if state.terminal]


async def load_desks(connection: AsyncConnection, account: str, now: Millis) -> dict[str, Desk]:
    """Every funded deployment of the account, with its unsettled orders, unfinished intents and newest trades."""
    query = select(books, deployments.c.spec).join(deployments, deployments.c.name == books.c.deployment)
    rows = (await connection.execute(query.where(books.c.account == account))).mappings().all()
    held = await _positions(connection, account)
    desks = {row["deployment"]: _desk(row, held.get(row["deployment"], {})) for row in rows}
    for deployment, traded in (await _prices(connection, list(desks))).items():
        desks[deployment].prices = traded
    for deployment, trips in (await load_trips(connection, list(desks))).items():
        desks[deployment].trips = trips
    rules = {deployment: desk.rules for deployment, desk in desks.items()}
    for deployment, closed in (await load_closed(connection, rules, now)).items():
        desks[deployment].closed = closed
    for row in await _unfinished(connection, list(desks)):
        if row["kind"] == IntentKind.TARGET:
            desks[row["deployment"]].intents.append(_intent(row))
        else:
            desks[row["deployment"]].commands[row["key"]] = read_command(dict(row))
    for record in await _records(connection, account, list(desks)):
        desk = desks[record.deployment]
        for intent in desk.intents:
            if intent.key == record.intent:
                intent.orders.append(record)
        if not record.order.settled:
            desk.records[record.id] = record
    return desks


async def load_free(connection: AsyncConnection, account: str) -> dict[str, Decimal]:
    """What the account holds that no deployment has been given, per asset."""
    entry = ledger_entries.c
    query = (
        select(entry.asset, func.sum(entry.amount).label("amount"))
        .where(entry.account == account, entry.deployment.is_(None), entry.kind.in_(HOLDINGS))
        .group_by(entry.asset)
    )
    return {row.asset: row.amount for row in await connection.execute(query)}


async def load_holdings(connection: AsyncConnection, account: str) -> dict[str, Decimal]:
    """What the ledger says the venue holds for the account, per asset, zeros left out."""
    entry = ledger_entries.c
    total = func.sum(entry.amount)
    query = (
        select(entry.asset, total.label("amount"))
        .where(entry.account == account, entry.kind.in_(HOLDINGS))
        .group_by(entry.asset)
        .having(total != 0)
    )
    return {row.asset: row.amount for row in await connection.execute(query)}


async def find_record(
    connection: AsyncConnection, account: str, client_order_id: str | None, exchange_order_id: str
) -> Record | None:
    """One order of a deployment, settled or not, by its own or the venue's id."""
    match = orders.c.exchange_order_id == exchange_order_id
    if client_order_id is not None:
        match = or_(orders.c.client_order_id == client_order_id, match)
    query = select(orders).where(orders.c.account == account, orders.c.origin == "cashup", match)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        return None
    trades = await _trade_ids(connection, [row["client_order_id"]])
    return read(dict(row), trades.get(row["client_order_id"], ()))


async def _positions(connection: AsyncConnection, account: str) -> dict[str, dict[Symbol, Position]]:
    query = select(positions).join(books, books.c.deployment == positions.c.deployment)
    found: dict[str, dict[Symbol, Position]] = {}
    for row in (await connection.execute(query.where(books.c.account == account))).mappings():
        position = Position(row["quantity"] + row["reserved"], row["cost"], row["realised"])
        found.setdefault(row["deployment"], {})[Symbol(row["symbol"])] = position
    return found


def _desk(row: RowMapping, held: Mapping[Symbol, Position]) -> Desk:
    targets = {Symbol(symbol): Decimal(target) for symbol, target in row["targets"].items()}
    return Desk(
        deployment=row["deployment"],
        account=row["account"],
        quote=row["quote"],
        capital=row["capital"],
        book=Book(row["cash"] + row["reserved"], dict(held), targets),
        rules=Rules.of(row["spec"]),
        decided=row["decided"],
        intents=deque(),
    )


async def _prices(connection: AsyncConnection, names: Sequence[str]) -> dict[str, dict[Symbol, Decimal]]:
    """The price of the last trade in each symbol, by deployment."""
    fill = fills.c
    query = select(fill.deployment, fill.symbol, fill.price).where(fill.deployment.in_(names))
    newest = query.ext(distinct_on(fill.deployment, fill.symbol))
    newest = newest.order_by(fill.deployment, fill.symbol, fill.id.desc())
    found: dict[str, dict[Symbol, Decimal]] = {}
    for row in await connection.execute(newest):
        found.setdefault(row.deployment, {})[Symbol(row.symbol)] = row.price
    return found


async def _unfinished(connection: AsyncConnection, names: Sequence[str]) -> Sequence[RowMapping]:
    query = select(intents).where(intents.c.deployment.in_(names), intents.c.finished_at.is_(None))
    return (await connection.execute(query.order_by(intents.c.number))).mappings().all()


def _intent(row: RowMapping) -> Intent:
    body = row["body"]
    targets = {Symbol(s): None if t is None else Decimal(t) for s, t in body["targets"].items()}
    rebalance = None if body["rebalance"] is None else Decimal(body["rebalance"])
    plan = row["plan"]
    return Intent(
        deployment=row["deployment"],
        request=Request(row["key"], row["bar"], targets, rebalance),
        fence=row["fence"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        state=IntentState(row["state"]),
        decisions=[Decision(d["symbol"], Action(d["action"]), d["code"], d["reason"]) for d in row["decisions"]],
        sizing=None if plan is None else Sizing.from_json(plan["sizing"]),
        marks={} if plan is None else {Symbol(s): Decimal(mark) for s, mark in plan["marks"].items()},
    )


async def _records(connection: AsyncConnection, account: str, names: Sequence[str]) -> list[Record]:
    """The orders that are not settled, and all orders of unfinished intents, oldest first."""
    unfinished = select(intents.c.deployment, intents.c.key).where(intents.c.finished_at.is_(None)).subquery()
    query = (
        select(orders)
        .outerjoin(
            unfinished,
            (unfinished.c.deployment == orders.c.deployment) & (unfinished.c.key == orders.c.intent),
        )
        .where(
            orders.c.account == account,
            orders.c.deployment.in_(names),
            or_(
                orders.c.state.not_in(_ENDED),
                orders.c.reported > orders.c.traded,
                unfinished.c.key.is_not(None),
            ),
        )
        .order_by(orders.c.created_at, orders.c.client_order_id)
    )
    rows = (await connection.execute(query)).mappings().all()
    trades = await _trade_ids(connection, [row["client_order_id"] for row in rows])
    return [read(dict(row), trades.get(row["client_order_id"], ())) for row in rows]


async def _trade_ids(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, list[str]]:
    if not ids:
        return {}
    query = select(fills.c.client_order_id, fills.c.trade_id).where(fills.c.client_order_id.in_(ids))
    found: dict[str, list[str]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.client_order_id, []).append(row.trade_id)
    return found
