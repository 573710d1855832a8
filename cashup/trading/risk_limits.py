"""The limits of accounts and users, which an operator sets, and the latches of losses, which an operator clears."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock
from cashup.errors import UsageError
from cashup.storage.database import transaction
from cashup.strategies.limits import Limits
from cashup.trading.halts import KILL, Halts, Scope
from cashup.trading.risk.worth import DAILY_LOSS, MAX_DRAWDOWN
from cashup.trading.tables import risk_limits, worths
from cashup.users.audit import record

_OF_USERS = {"max_order_notional", "price_collar", "stale_seconds", "max_daily_loss", "max_drawdown", "on_breach"}
"""A user's accounts may be traded by different gateways: what all of them would have to count together is left out."""

_OF_ACCOUNTS = set(Limits.model_fields) - {"stale_bars"}
"""An account has no timeframe."""


class RiskLimits:
    """The limits beyond those of deployments, in one database."""

    def __init__(self, database: AsyncEngine, clock: Clock, halts: Halts) -> None:
        self._database = database
        self._clock = clock
        self._halts = halts

    async def all(self) -> list[dict[str, Any]]:
        """Every account's and user's limits, with who set them and when."""
        query = select(risk_limits).order_by(risk_limits.c.scope, risk_limits.c.name)
        async with self._database.connect() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [{str(column): value for column, value in row.items()} for row in rows]

    async def put(self, scope: Scope, name: str, limits: Limits, *, by: str) -> None:
        """Set the limits of an account or a user; without any limit they are taken away. Raises UsageError."""
        check_scope(scope, limits)
        now, row = self._clock.now(), limits.row()
        mine = (risk_limits.c.scope == scope.value) & (risk_limits.c.name == name)
        async with transaction(self._database) as connection:
            await connection.execute(delete(risk_limits).where(mine))
            if row:
                values = {"scope": scope.value, "name": name, "limits": row, "by": by, "updated_at": now}
                await connection.execute(insert(risk_limits).values(values))
            await record(connection, at=now, subject=by, action="risk.limits", target=f"{scope}:{name}", detail=row)

    async def clear(self, scope: Scope, name: str, code: str, *, by: str) -> None:
        """Lift what a loss, or anything but a kill, has latched; what was lost so far does not count any more.

        Raises NotFound when it is not latched, UsageError for a kill, which is lifted by `cashup unkill`.
        """
        if code == KILL:
            raise UsageError(f"{name or 'everything'} was killed by a person; lift that with `cashup unkill`")
        mine = (worths.c.scope == scope.value) & (worths.c.name == name)
        baseline = {DAILY_LOSS: {"opened": worths.c.value}, MAX_DRAWDOWN: {"peak": worths.c.value}}.get(code)
        also = [] if baseline is None else [update(worths).where(mine).values(baseline)]
        await self._halts.lift(scope, name, code, by=by, also=also)


def check_scope(scope: Scope, limits: Limits) -> None:
    """Raise UsageError for a limit that cannot be held for an account or a user."""
    allowed = {Scope.ACCOUNT: _OF_ACCOUNTS, Scope.USER: _OF_USERS}.get(scope)
    if allowed is None:
        raise UsageError("limits are set for an account or a user; those of a deployment are in its file in live/")
    wrong = sorted(limits.model_fields_set - allowed)
    if wrong:
        raise UsageError(f"{wrong[0]} is no limit of {_an(scope)}; choose one of: {', '.join(sorted(allowed))}")


def _an(scope: Scope) -> str:
    return "an account" if scope is Scope.ACCOUNT else "a user"
