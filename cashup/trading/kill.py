"""The kill switch: a latch that a person sets, and the work that goes with it.

Setting it commits two things at once: the halt, which blocks every new send, and one row of `sweeps` per account, which
says what must be done there. Whoever trades the account carries it out (`sweep.py`), after a crash as well: the rows
stay until the kill is lifted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, delete, false, func, literal, or_, select, true, union
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock
from cashup.errors import NotFound, UsageError
from cashup.orders.tables import account_leases
from cashup.storage.database import transaction
from cashup.trading.halts import KILL, Halts, Scope, TradingState, concerns
from cashup.trading.tables import deployments, sweeps
from cashup.types import Millis
from cashup.users.audit import record
from cashup.users.tables import accounts, users


@dataclass(frozen=True, slots=True)
class Kill:
    """What shall be killed, and how far: `flatten` sells what is held, `external` cancels other people's orders too."""

    scope: Scope
    name: str = ""
    flatten: bool = False
    external: bool = False
    reason: str = ""


class KillSwitch:
    """Kills and unkills. `wake` is called after a kill is committed, so that its work begins at once."""

    def __init__(
        self, database: AsyncEngine, clock: Clock, halts: Halts, wake: Callable[[], None] = lambda: None
    ) -> None:
        self._database = database
        self._clock = clock
        self._halts = halts
        self._wake = wake

    async def kill(self, kill: Kill, *, by: str) -> dict[str, Any]:
        """Block all new sends in the scope, and have everything of it that rests cancelled; how far that is.

        Killing again asks for more (`flatten`) or starts the work anew. Raises NotFound and UsageError, having done
        nothing.
        """
        await self._check(kill)
        reason = kill.reason or f"killed by {by}"
        halted = (kill.scope, kill.name, KILL, TradingState.HALTED, reason)
        await self._halts.latch(*halted, by=by, also=[begin_sweep(kill, self._clock.now())])
        self._wake()
        return await self.state(kill.scope, kill.name)

    async def unkill(self, scope: Scope, name: str, *, by: str) -> None:
        """Let orders through again. Raises NotFound when it is not killed."""
        mine = (sweeps.c.scope == scope.value) & (sweeps.c.name == name)
        mine &= or_(~sweeps.c.on_exit, sweeps.c.state == "done")  # what a stopped deployment left goes on
        await self._halts.lift(scope, name, KILL, by=by, also=[delete(sweeps).where(mine)])

    async def flatten(self, deployment: str, *, by: str) -> dict[str, Any]:
        """Cancel what rests of a deployment and sell what it holds, without blocking it; how far that is.

        Raises NotFound when there is no such deployment.
        """
        work = Kill(Scope.DEPLOYMENT, deployment, flatten=True)
        await self._check(work)
        now = self._clock.now()
        async with transaction(self._database) as connection:
            await connection.execute(begin_sweep(work, now))
            await record(connection, at=now, subject=by, action="deployment.flatten", target=deployment)
        self._wake()
        return await self.flattening(deployment)

    async def flattening(self, deployment: str) -> dict[str, Any]:
        """How far the flattening of a deployment is. Raises NotFound when nobody asked for it."""
        mine = (sweeps.c.scope == Scope.DEPLOYMENT.value) & (sweeps.c.name == deployment) & sweeps.c.flatten
        async with self._database.connect() as connection:
            row = (await connection.execute(select(sweeps).where(mine))).mappings().first()
        if row is None:
            raise NotFound(f"nobody asked for {deployment} to be flattened")
        return {str(column): value for column, value in row.items()}

    async def state(self, scope: Scope, name: str) -> dict[str, Any]:
        """One kill: who did it, and how far it is on every account. Raises NotFound when there is none."""
        for kill in await self.all():
            if (kill["scope"], kill["name"]) == (scope.value, name):
                return kill
        raise NotFound(f"{name or 'everything'} is not killed")

    async def all(self) -> list[dict[str, Any]]:
        """Every kill, the oldest first."""
        async with self._database.connect() as connection:
            rows = (await connection.execute(select(sweeps).order_by(sweeps.c.account))).mappings().all()
        kills = [halt for halt in await self._halts.all() if halt.code == KILL]
        return [
            {
                **halt.row(),
                "accounts": [
                    {str(column): value for column, value in row.items() if column not in ("scope", "name")}
                    for row in rows
                    if (row["scope"], row["name"]) == (halt.scope.value, halt.name)
                ],
            }
            for halt in kills
        ]

    async def owner(self, scope: Scope, name: str) -> str | None:
        """The user whose own this is to kill; None when it is nobody's alone. Raises NotFound."""
        query: Select[Any]
        match scope:
            case Scope.ALL:
                return None
            case Scope.USER:
                query = select(users.c.name).where(users.c.name == name)
            case Scope.ACCOUNT:
                query = select(users.c.name).join(accounts, accounts.c.user_id == users.c.id)
                query = query.where(accounts.c.name == name)
            case Scope.DEPLOYMENT:
                query = select(deployments.c.owner).where(deployments.c.name == name)
        async with self._database.connect() as connection:
            owner: str | None = (await connection.execute(query)).scalar_one_or_none()
        if owner is None:
            raise NotFound(f"there is no {scope} {name}")
        return owner

    async def _check(self, kill: Kill) -> None:
        if (kill.scope is Scope.ALL) != (not kill.name):
            raise UsageError("name the deployment, account or user to kill; only `all` has no name")
        if kill.external and kill.scope is not Scope.ALL:
            raise UsageError("orders that CashUp did not make are cancelled with everything only: kill all of it")
        await self._exists(kill)

    async def _exists(self, kill: Kill) -> None:
        if kill.scope is Scope.ACCOUNT:  # also one that is traded and was deleted, or never had keys
            query = select(func.count()).where(account_leases.c.account == kill.name)
            async with self._database.connect() as connection:
                if (await connection.execute(query)).scalar_one():
                    return
        if kill.scope is not Scope.USER:
            await self.owner(kill.scope, kill.name)
            return
        query = select(func.count()).where(deployments.c.owner == kill.name)
        async with self._database.connect() as connection:
            if not (await connection.execute(query)).scalar_one():
                await self.owner(kill.scope, kill.name)


def begin_sweep(kill: Kill, now: Millis, *, exit_: bool = False) -> Any:
    """The statement that adds the work to do, or starts it anew; `exit_` when it is the exit of a deployment."""
    where = select(deployments.c.account).where(concerns(kill.scope, kill.name))
    if kill.scope is Scope.ALL:
        found = union(where, select(account_leases.c.account)).subquery()
    elif kill.scope is Scope.ACCOUNT:
        found = select(literal(kill.name).label("account")).subquery()
    else:
        found = where.distinct().subquery()
    flags = [true() if flag else false() for flag in (kill.flatten, kill.external, exit_)]
    columns = [
        "scope",
        "name",
        "account",
        "flatten",
        "external",
        "on_exit",
        "state",
        "markets",
        "started_at",
        "updated_at",
    ]
    rows = select(
        literal(kill.scope.value),
        literal(kill.name),
        found.c.account,
        *flags,
        literal("cancelling"),
        literal({}, sweeps.c.markets.type),
        literal(now),
        literal(now),
    )
    added = insert(sweeps).from_select(columns, rows)
    again: dict[str, Any] = {name: added.excluded[name] for name in ("state", "markets", "started_at", "updated_at")}
    again |= {name: or_(sweeps.c[name], added.excluded[name]) for name in ("flatten", "external")}
    undone = sweeps.c.state != "done"
    again["on_exit"] = or_(and_(sweeps.c.on_exit, undone), added.excluded.on_exit)
    if exit_:  # what was sold on some other day is no reason to sell now
        again["flatten"] = or_(and_(sweeps.c.flatten, undone), added.excluded.flatten)
    return added.on_conflict_do_update(index_elements=list(sweeps.primary_key), set_={**again, "message": ""})
