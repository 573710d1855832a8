"""Halts: why orders are held back for a deployment, an account, a user or everybody, latched until they are lifted.

The table is the truth and there is no cache: the send claim reads it in the statement that claims. REDUCING lets only
orders through that lead a position toward zero, HALTED none; cancels always pass. A deployment is in the worst state of
all the halts that concern it, and ACTIVE when there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Executable, Select, and_, delete, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cashup.clock import Clock
from cashup.errors import NotFound
from cashup.events import EventKind
from cashup.orders.journal import Write
from cashup.orders.tables import account_leases, halts
from cashup.storage.database import transaction
from cashup.storage.outbox import emit
from cashup.trading.risk import TradingState as TradingState
from cashup.trading.tables import deployments
from cashup.types import Millis
from cashup.users.audit import record

KILL = "kill"
"""The code of a halt that a person set."""

CONTRADICTION = "contradiction"
"""The code of a halt that an order set which filled although it was held to be never placed."""

LATCH_HALTS = Write(
    "latch_halts", halts, ("state", "reason", "by", "at"), keys=("scope", "name", "code"), mode="upsert"
)
"""For a turn of the account itself, whose claims come after it. Everybody else latches through `Halts`."""


class Scope(StrEnum):
    """Whose orders a halt holds back."""

    ALL = "all"
    USER = "user"
    ACCOUNT = "account"
    DEPLOYMENT = "deployment"


@dataclass(frozen=True, slots=True)
class Halt:
    """One latch. `name` is empty when the scope is `all`; `by` is who set it; `at` is when, in ms UTC."""

    scope: Scope
    name: str
    code: str
    state: TradingState
    reason: str
    by: str
    at: Millis

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Halt:
        """The halt that a row of the table holds."""
        return cls(
            Scope(row["scope"]),
            row["name"],
            row["code"],
            TradingState(row["state"]),
            row["reason"],
            row["by"],
            row["at"],
        )

    @property
    def target(self) -> str:
        """What it holds back, in one word."""
        return f"{self.scope}:{self.name}" if self.name else str(self.scope)

    def row(self) -> dict[str, Any]:
        """The row of the table."""
        return {name: str(value) if isinstance(value, StrEnum) else value for name, value in asdict(self).items()}


class Halts:
    """The halts of one database. `emitted` is called after each commit with events in it."""

    def __init__(self, database: AsyncEngine, clock: Clock, emitted: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._clock = clock
        self._emitted = emitted

    async def latch(
        self,
        scope: Scope,
        name: str,
        code: str,
        state: TradingState,
        reason: str,
        *,
        by: str,
        also: Sequence[Executable] = (),
    ) -> Halt:
        """Hold orders back from now on. When this returns, no claim that disregards the halt is still to come.

        The halt is committed first and by itself, so that nothing that holds up the leases' rows can hold it up; `also`
        are statements that become true with it.
        """
        halt = Halt(scope, name, code, state, reason, by, self._clock.now())
        detail = {"state": str(state), "reason": reason}
        async with transaction(self._database) as connection:
            added = insert(halts).values(halt.row())
            changed = {column: added.excluded[column] for column in ("state", "reason", "by", "at")}
            await connection.execute(added.on_conflict_do_update(index_elements=list(halts.primary_key), set_=changed))
            await record(connection, at=halt.at, subject=by, action=f"halt.{code}", target=halt.target, detail=detail)
            for statement in also:
                await connection.execute(statement)
        async with transaction(self._database) as connection:
            await self._fence(connection, halt)
            await self._tell(connection, halt.row())
        self._emitted()
        return halt

    async def lift(self, scope: Scope, name: str, code: str, *, by: str, also: Sequence[Executable] = ()) -> None:
        """Take a halt back. Raises NotFound when there is none; `also` as in `latch`."""
        at = self._clock.now()
        match = (halts.c.scope == scope.value) & (halts.c.name == name) & (halts.c.code == code)
        async with transaction(self._database) as connection:
            row = (await connection.execute(delete(halts).where(match).returning(halts))).mappings().first()
            if row is None:
                raise NotFound(f"nothing is halted by {code} for {name or scope}")
            halt = Halt.of(dict(row))
            detail = {"reason": halt.reason, "by": halt.by, "at": halt.at}
            await record(connection, at=at, subject=by, action=f"unhalt.{code}", target=halt.target, detail=detail)
            for statement in also:
                await connection.execute(statement)
            await self._tell(connection, {**halt.row(), "state": str(TradingState.ACTIVE), "by": by, "at": at})
        self._emitted()

    async def all(self) -> list[Halt]:
        """Every halt there is, the oldest first."""
        async with self._database.connect() as connection:
            rows = (await connection.execute(select(halts).order_by(halts.c.at))).mappings().all()
        return [Halt.of(dict(row)) for row in rows]

    async def of_account(self, account: str, code: str) -> Halt | None:
        """The halt of this account itself with this code."""
        match = (halts.c.scope == Scope.ACCOUNT.value) & (halts.c.name == account) & (halts.c.code == code)
        async with self._database.connect() as connection:
            row = (await connection.execute(select(halts).where(match))).mappings().first()
        return None if row is None else Halt.of(dict(row))

    async def _fence(self, connection: AsyncConnection, halt: Halt) -> None:
        """Wait for the claims that are under way, and let those fail that began before the halt was committed."""
        lease, traded = account_leases.c, select(deployments.c.account).where(concerns(halt.scope, halt.name))
        concerned: ColumnElement[bool] = lease.account.in_(traded)
        if halt.scope is Scope.ACCOUNT:
            concerned = lease.account == halt.name
        elif halt.scope is Scope.ALL:
            concerned = true()
        ordered = select(lease.account).where(concerned).order_by(lease.account)
        await connection.execute(ordered.with_for_update())
        await connection.execute(update(account_leases).where(concerned).values(halts=lease.halts + 1))

    async def _tell(self, connection: AsyncConnection, data: Mapping[str, Any]) -> None:
        scope, name = Scope(data["scope"]), data["name"]
        query = select(deployments.c.name, deployments.c.account).where(concerns(scope, name))
        streams = {f"account:{name}": None} if scope is Scope.ACCOUNT else {}
        for deployment, account in await connection.execute(query.order_by(deployments.c.name)):
            streams |= {f"deployment:{deployment}": None, f"account:{account}": None}
        for stream in streams:
            await emit(connection, stream, EventKind.HALT_CHANGED, data, data["at"])


def effective_query() -> Select[Any]:
    """Every deployment (`deployment`, `owner`) with each halt that concerns it; NULL where there is none."""
    concerned = or_(
        halts.c.scope == Scope.ALL.value,
        and_(halts.c.scope == Scope.USER.value, halts.c.name == deployments.c.owner),
        and_(halts.c.scope == Scope.ACCOUNT.value, halts.c.name == deployments.c.account),
        and_(halts.c.scope == Scope.DEPLOYMENT.value, halts.c.name == deployments.c.name),
    )
    deployment = deployments.c.name.label("deployment")
    return select(deployment, deployments.c.owner, halts).select_from(deployments).outerjoin(halts, concerned)


async def effective(connection: AsyncConnection, account: str) -> dict[str, list[Halt]]:
    """The halts that concern each deployment of `account`, by deployment; an empty list when it is ACTIVE."""
    query = effective_query().where(deployments.c.account == account)
    found: dict[str, list[Halt]] = {}
    for row in (await connection.execute(query)).mappings():
        held = found.setdefault(row["deployment"], [])
        if row["scope"] is not None:
            held.append(Halt.of(dict(row)))
    return found


def concerns(scope: Scope, name: str) -> ColumnElement[bool]:
    """True for the deployments that a halt of this scope and name concerns."""
    match scope:
        case Scope.ALL:
            return true()
        case Scope.USER:
            return deployments.c.owner == name
        case Scope.ACCOUNT:
            return deployments.c.account == name
        case Scope.DEPLOYMENT:
            return deployments.c.name == name
