"""The journal: everything that belongs together is committed by one statement, under the account's lease.

A commit is a set of rows per kind of write. They become one SQL statement (each kind a data-modifying CTE fed by one
JSON array), so that it costs one round trip and one commit. All of it hangs on a guard that locks the account's lease
row: who has lost the lease writes nothing, and a lease cannot change hands while a write is under way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    Exists,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    column,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    table,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from cashup.errors import Unavailable
from cashup.events import EventKind
from cashup.orders.tables import account_leases, fills, halts, inbox, order_events, orders
from cashup.storage.database import dump_json
from cashup.storage.lines import Lines
from cashup.storage.outbox import SEQ_LOCK, outbox
from cashup.storage.statement import Prepared, prepare, rows_of
from cashup.types import OrderState

NOW = cast(func.extract("epoch", func.clock_timestamp()) * 1000, BigInteger)
"""The database's time in milliseconds: the one clock that all gateways share for leases."""


RUNNING = ("running",)
RUNNING_OR_PAUSED = ("running", "paused")


class LeaseLost(Unavailable):
    """Another gateway trades the account now, or the lease ran out; nothing was written."""

    code = "lease_lost"


class FenceLost(Unavailable):
    """The attempt is no longer the newest one, or its deployment shall stop; nothing was written."""

    code = "fence_lost"
    status = 409


@dataclass(frozen=True, eq=False)
class Write:
    """One way to write rows of one table. Rows are dicts with exactly the keys `columns` (and `keys` for updates)."""

    name: str
    table: Table
    columns: tuple[str, ...]
    keys: tuple[str, ...] = ()
    mode: str = "insert"

    def cte(self, guard: CTE) -> CTE:
        """The write as a CTE over the JSON array bound as `name`."""
        rows = rows_of(self.table, (*self.keys, *self.columns), self.name)
        if self.mode == "update":
            matched = [self.table.c[key] == rows.c[key] for key in self.keys]
            statement: Any = (
                update(self.table)
                .values({name: rows.c[name] for name in self.columns})
                .where(*matched, guard.c.held == 1)
            )
            return statement.returning(literal_column("1")).cte(f"write_{self.name}")  # type: ignore[no-any-return]
        names = [*self.keys, *self.columns]
        source = select(*(rows.c[name] for name in names)).where(guard.c.held == 1)
        if self.mode == "insert":
            statement = insert(self.table).from_select(names, source)
        else:
            added = upsert(self.table).from_select(names, source)
            changed = {name: added.excluded[name] for name in self.columns}
            statement = added.on_conflict_do_update(index_elements=list(self.keys), set_=changed)
        return statement.returning(literal_column("1")).cte(f"write_{self.name}")  # type: ignore[no-any-return]


ADD_ORDERS = Write(
    "add_orders",
    orders,
    (
        *("client_order_id", "account", "deployment", "intent", "bar", "origin", "symbol", "side", "type"),
        *("quantity", "cost", "price", "time_in_force", "state", "exchange_order_id", "traded", "spent", "reported"),
        *("fees", "reason", "reserved_asset", "reserved", "reduces", "flattens"),
        *("limits", "created_at", "updated_at"),
    ),
)
CHANGE_ORDERS = Write(
    "change_orders",
    orders,
    (
        *("quantity", "price", "cancelling", "amending", "amend_before", "terms_at", "state", "exchange_order_id"),
        *("traded", "spent", "reported", "fees", "reason", "reserved", "evidence", "updated_at"),
    ),
    keys=("client_order_id",),
    mode="update",
)
NOTE_ORDERS = Write(
    "note_orders",
    orders,
    tuple(name for name in ADD_ORDERS.columns if name not in ("client_order_id", "reserved_asset")),
    keys=("client_order_id",),
    mode="upsert",
)
"""Somebody else's orders on the account."""
ADD_FILLS = Write(
    "add_fills",
    fills,
    (
        *("account", "symbol", "trade_id", "deployment", "client_order_id", "exchange_order_id", "side"),
        *("price", "quantity", "fee", "fee_currency", "time", "booked_at"),
    ),
)
APPLIED = Write("applied", inbox, ("applied",), keys=("id",), mode="update")
SURVEYED = Write("surveyed", account_leases, ("surveyed_at",), keys=("account",), mode="update")
_EVENTS = ("stream", "kind", "at", "data")


@dataclass(slots=True)
class Commit:
    """What shall become true together."""

    writes: dict[Write, list[dict[str, Any]]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    def add(self, write: Write, *rows: dict[str, Any]) -> None:
        """Add rows of one kind; a row is what the database will hold, money as Decimal."""
        if rows:
            self.writes.setdefault(write, []).extend(rows)

    def emit(self, stream: str, kind: EventKind, at: int, data: Mapping[str, Any]) -> None:
        """Add an event; it gets its number when the commit happens."""
        self.events.append({"stream": stream, "kind": kind.value, "at": at, "data": data})


class Journal:
    """Commits for one account under one lease."""

    def __init__(self, lines: Lines, account: str, fence: int) -> None:
        self._lines = lines
        self._account = account
        self._fence = fence

    async def commit(self, commit: Commit, *, attempt: tuple[str, int] | None = None, paused_too: bool = False) -> None:
        """Make all of it true, or nothing. With `attempt` (deployment, fence) only while that attempt is the newest
        and its deployment shall run (or, with `paused_too`, pauses).

        Raises LeaseLost or FenceLost, having written nothing, and Taken when a row of it exists already. After any
        other error the outcome is unknown: read.
        """
        kinds = tuple(sorted(commit.writes, key=lambda write: write.name))
        values: dict[str, Any] = {kind.name: dump_json(commit.writes[kind]) for kind in kinds}
        if commit.events:
            values["events"] = dump_json(commit.events)
        if attempt is not None:
            values |= {"deployment": attempt[0], "attempt_fence": attempt[1]}
        wishes = None if attempt is None else RUNNING_OR_PAUSED if paused_too else RUNNING
        if (await self._run(_commit(kinds, bool(commit.events), wishes), values))[0][0]:
            return
        if attempt is not None and await self._held():
            raise FenceLost(f"attempt {attempt[1]} of {attempt[0]} is not the running one any more; it must stop")
        raise self._lost()

    async def claim(self, client_order_ids: Sequence[str], now: int, send_before: int) -> set[str]:
        """Commit that these orders are about to be sent, and return those that may be: each once, ever.

        The claim holds only while the account is ready, and only for orders that no halt holds back; both are read in
        the same statement. Whoever has latched a halt and raised `account_leases.halts` knows that every later claim
        obeys it, and that every earlier one is committed. Raises LeaseLost.
        """
        rows = await self._run(_claim(), {"ids": list(client_order_ids), "now": now, "send_before": send_before})
        if not rows and not await self._held():
            raise self._lost()
        return {row[0] for row in rows}

    async def claim_amendments(self, client_order_ids: Sequence[str], now: int, send_before: int) -> set[str]:
        """The same for amendments of orders that rest: each one is sent once, and a halt holds it back."""
        values = {"ids": list(client_order_ids), "now": now, "send_before": send_before}
        rows = await self._run(_claim_amendments(), values)
        if not rows and not await self._held():
            raise self._lost()
        return {row[0] for row in rows}

    async def _held(self) -> bool:
        return bool((await self._run(_held(), {}))[0][0])

    async def _run(self, statement: Prepared, values: Mapping[str, Any]) -> Sequence[Any]:
        return await self._lines.run(statement, {"account": self._account, "fence": self._fence, **values})

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"another gateway trades account {self._account}, or the lease ran out; nothing was written")


def _lease() -> Select[Any]:
    """The lease row when it is ours and has not run out, locked against a change of hands until the commit."""
    lease = account_leases.c
    return (
        select(literal_column("1").label("held"))
        .where(
            lease.account == bindparam("account", type_=Text),
            lease.fence == bindparam("fence", type_=BigInteger),
            lease.expires > NOW,
        )
        .with_for_update(read=True, of=account_leases)
    )


def lease_guard(wishes: tuple[str, ...] | None = None) -> CTE:
    """One row, `held`, when the lease is ours (bound as `account` and `fence`): write only where it is there.

    With `wishes` it also takes the newest attempt of a deployment of which one of these is wished.
    """
    guard = _lease()
    if wishes is not None:
        deployment = table("deployments", column("name", Text), column("fence", BigInteger), column("desired", Text))
        guard = guard.where(
            deployment.c.name == bindparam("deployment", type_=Text),
            deployment.c.fence == bindparam("attempt_fence", type_=BigInteger),
            deployment.c.desired.in_([literal_column(f"'{wish}'") for wish in wishes]),
        )
    return guard.cte("guard").prefix_with("MATERIALIZED")


@cache
def _commit(kinds: tuple[Write, ...], events: bool, wishes: tuple[str, ...] | None) -> Prepared:
    """The statement for these kinds of writes, which yields 1 if the guard held, else 0."""
    guard = lease_guard(wishes)
    statement = select(func.count()).select_from(guard)
    statement = statement.add_cte(*(kind.cte(guard) for kind in kinds))
    if events:
        # The lock is taken after the guard's row locks; in this order nobody can wait for somebody who waits for him.
        lock = select(func.pg_advisory_xact_lock(SEQ_LOCK), guard.c.held).cte("lock").prefix_with("MATERIALIZED")
        rows = rows_of(outbox, _EVENTS, "events")
        source = select(*(rows.c[name] for name in _EVENTS)).where(lock.c.held == 1)
        statement = statement.add_cte(
            insert(outbox).from_select(list(_EVENTS), source).returning(outbox.c.seq).cte("write_events")
        )
    return prepare(statement)


@cache
def _held() -> Prepared:
    return prepare(select(func.count()).select_from(lease_guard()))


@cache
def _claim() -> Prepared:
    now, send_before = bindparam("now", type_=BigInteger), bindparam("send_before", type_=BigInteger)
    values = {"state": OrderState.SENDING.value, "claimed_at": now, "send_before": send_before}
    return _claiming(values, orders.c.state == OrderState.PENDING_SEND.value, "claimed", OrderState.PENDING_SEND)


@cache
def _claim_amendments() -> Prepared:
    waiting = and_(
        orders.c.state == OrderState.OPEN.value, orders.c.amending.is_not(None), orders.c.amend_before.is_(None)
    )
    values = {"amend_before": bindparam("send_before", type_=BigInteger)}
    return _claiming(values, waiting, "amend_claimed", OrderState.OPEN)


def _claiming(values: Mapping[str, Any], waiting: ColumnElement[bool], event: str, before: OrderState) -> Prepared:
    """Set `values` on those of the named orders that are `waiting`, with a row in their history, as far as the lease,
    the account's state and the halts allow; yields their ids."""
    lease, seen = account_leases.c, account_leases.alias("seen").c
    # The guard waits for the lease row and then sees its newest version, while `seen` and the halts are read as they
    # were when the statement began. A halt that came between the two has changed `halts`: nothing is claimed then.
    as_seen = select(seen.halts).where(seen.account == bindparam("account", type_=Text)).scalar_subquery()
    guard = _lease().where(lease.state == "ready", lease.halts == as_seen).cte("guard").prefix_with("MATERIALIZED")
    claimed = (
        update(orders)
        .values(fence=bindparam("fence", type_=BigInteger), updated_at=bindparam("now", type_=BigInteger), **values)
        .where(
            orders.c.client_order_id == func.any(bindparam("ids", type_=ARRAY(Text))),
            orders.c.account == bindparam("account", type_=Text),
            waiting,
            guard.c.held == 1,
            or_(orders.c.flattens, ~_held_back()),
        )
        .returning(orders.c.client_order_id, orders.c.account, orders.c.fence, orders.c.state)
        .cte("claimed")
    )
    return prepare(select(claimed.c.client_order_id).add_cte(_note_claim(claimed, event, before)))


def _held_back() -> Exists:
    """True for an order that a halt of one of its four scopes does not let through."""
    halt, order = halts.c, orders.c
    deployment = table("deployments", column("name", Text), column("owner", Text)).alias("mine")
    owner = select(deployment.c.owner).where(deployment.c.name == order.deployment).correlate(orders).scalar_subquery()
    concerned = or_(
        halt.scope == "all",
        and_(halt.scope == "user", halt.name == owner),
        and_(halt.scope == "account", halt.name == order.account),
        and_(halt.scope == "deployment", halt.name == order.deployment),
    )
    return exists().where(concerned, or_(halt.state == "halted", ~order.reduces)).correlate(orders)


def _note_claim(claimed: CTE, event: str, before: OrderState) -> CTE:
    """The claim in the history of each order that was claimed."""
    row = {
        "client_order_id": claimed.c.client_order_id,
        "account": claimed.c.account,
        "at": bindparam("now", type_=BigInteger),
        "event": literal_column(f"'{event}'"),
        "actor": literal_column("'engine'"),
        "from_state": literal_column(f"'{before.value}'"),
        "to_state": claimed.c.state,
        "cause": literal_column("'send claim'"),
        "detail": func.jsonb_build_object(
            literal_column("'fence'"),
            claimed.c.fence,
            literal_column("'send_before'"),
            bindparam("send_before", type_=BigInteger),
        ),
    }
    noted = insert(order_events).from_select(list(row), select(*row.values()))
    return noted.returning(literal_column("1")).cte("noted")
