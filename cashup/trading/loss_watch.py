"""The watch over losses: what each deployment, account and user is worth, looked at every second.

A loss beyond a limit latches a halt, which stays over restarts until an operator clears it, and has what rests in the
scope cancelled. What a limit is measured against is in the table `worths`.

Only the holder of the account's lease measures, and not in the first moment after it was paused: what it knows of
prices and positions is then from before, in parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy import func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cashup.clock import Clock
from cashup.orders.lease import Lease
from cashup.storage.database import transaction
from cashup.strategies.limits import NO_LIMITS, Limits
from cashup.trading.halts import Halt, Halts, Scope
from cashup.trading.kill import Kill, begin_sweep
from cashup.trading.risk import TradingState
from cashup.trading.risk.worth import Breach, Worth
from cashup.trading.tables import deployments, worths
from cashup.types import Millis

log = structlog.get_logger()

WRITE_AFTER: Millis = 10_000
"""How old a written worth may be when nothing but the worth itself has changed."""

PAUSED_SECONDS = 5.0
"""Who has not looked for so long was paused: looking comes round every second."""

Key = tuple[Scope, str, str]
"""The scope, whose it is, and the currency."""


@dataclass(frozen=True, slots=True)
class Equity:
    """What a deployment is worth now, in `quote`, and what was paid in."""

    deployment: str
    owner: str
    quote: str
    value: Decimal
    capital: Decimal


class LossWatch:
    """Watches the deployments of the account that `lease` is for, and their owners. `paused` is in seconds."""

    def __init__(
        self, lease: Lease, database: AsyncEngine, halts: Halts, clock: Clock, paused: float = PAUSED_SECONDS
    ) -> None:
        self._account = lease.account
        self._lease = lease
        self._database = database
        self._halts = halts
        self._clock = clock
        self._paused = paused
        self._measured: Millis = 0
        self._looked: float | None = None

    async def look(
        self, equities: Sequence[Equity], limits: Mapping[tuple[Scope, str], Limits], latched: Iterable[Halt]
    ) -> bool:
        """Measure everything once; True when something was latched.

        `limits` are those of deployments, the account and users, by whose they are; `latched` the halts there are.
        Where no limit is measured against them, worths are written now and then only, and not looked at in between.
        Raises LeaseLost, having written nothing.
        """
        now = self._clock.now()
        watched = any(limit.watches_losses for limit in limits.values())
        try:
            if not equities or (not watched and now - self._measured < WRITE_AFTER) or self._was_paused():
                return False
            self._measured = now
            return await self._measure(now, equities, limits, latched)
        finally:
            self._looked = asyncio.get_running_loop().time()

    def _was_paused(self) -> bool:
        return self._looked is not None and asyncio.get_running_loop().time() - self._looked > self._paused

    async def _measure(
        self,
        now: Millis,
        equities: Sequence[Equity],
        limits: Mapping[tuple[Scope, str], Limits],
        latched: Iterable[Halt],
    ) -> bool:
        there = {(halt.scope, halt.name, halt.code) for halt in latched}
        breaches: list[tuple[Scope, str, Breach]] = []
        async with transaction(self._database) as connection:
            await self._lease.hold(connection)
            totals = await self._totals(connection, equities)
            before = await _read(connection, totals)
            for key, (value, capital) in totals.items():
                scope, name, _ = key
                known = before.get(key)
                worth = Worth.begin(value, capital, now) if known is None else known[0].after(value, capital, now)
                mine = limits.get((scope, name), NO_LIMITS)
                if known is None or _matters(known, worth, now, watched=mine.watches_losses):
                    await connection.execute(_save(key, worth, now))
                breaches += [(scope, name, breach) for breach in worth.breaches(mine)]
        new = [(scope, name, breach) for scope, name, breach in breaches if (scope, name, breach.code) not in there]
        for scope, name, breach in new:
            await self._latch(scope, name, breach, TradingState(limits[scope, name].on_breach))
        return bool(new)

    async def _latch(self, scope: Scope, name: str, breach: Breach, state: TradingState) -> None:
        log.error("a limit on losses is reached", scope=scope, name=name, code=breach.code, reason=breach.reason)
        sweep = begin_sweep(Kill(scope, name), self._clock.now())
        await self._halts.latch(scope, name, breach.code, state, breach.reason, by="system", also=[sweep])

    async def _totals(self, connection: AsyncConnection, equities: Sequence[Equity]) -> dict[Key, tuple[Any, Any]]:
        """Value and capital by key, in one order for everybody who locks them."""
        found: dict[Key, tuple[Decimal, Decimal]] = {}
        for one in equities:
            for scope, name in (
                (Scope.DEPLOYMENT, one.deployment),
                (Scope.ACCOUNT, self._account),
                (Scope.USER, one.owner),
            ):
                value, capital = found.get((scope, name, one.quote), (Decimal(0), Decimal(0)))
                found[scope, name, one.quote] = value + one.value, capital + one.capital
        for (owner, quote), (value, capital) in (await self._elsewhere(connection, equities)).items():
            mine = found.get((Scope.USER, owner, quote))
            if mine is not None:
                found[Scope.USER, owner, quote] = mine[0] + value, mine[1] + capital
        return dict(sorted(found.items()))

    async def _elsewhere(
        self, connection: AsyncConnection, equities: Sequence[Equity]
    ) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
        """What the same owners have on other accounts, as it was last written, by owner and currency."""
        query = (
            select(deployments.c.owner, worths.c.quote, func.sum(worths.c.value), func.sum(worths.c.capital))
            .join(deployments, deployments.c.name == worths.c.name)
            .where(
                worths.c.scope == Scope.DEPLOYMENT.value,
                deployments.c.owner.in_({one.owner for one in equities}),
                deployments.c.account != self._account,
            )
            .group_by(deployments.c.owner, worths.c.quote)
        )
        rows = await connection.execute(query)
        return {(owner, quote): (value, capital) for owner, quote, value, capital in rows}


async def _read(connection: AsyncConnection, keys: Iterable[Key]) -> dict[Key, tuple[Worth, Millis]]:
    """What is written of these, and when it was; locked, so that two gateways add to it one after the other."""
    wanted = tuple_(worths.c.scope, worths.c.name, worths.c.quote).in_([(str(s), n, q) for s, n, q in keys])
    order = (worths.c.scope, worths.c.name, worths.c.quote)
    rows = (await connection.execute(select(worths).where(wanted).order_by(*order).with_for_update())).mappings()
    return {
        (Scope(row["scope"]), row["name"], row["quote"]): (
            Worth(row["day"], row["opened"], row["peak"], row["value"], row["capital"]),
            row["at"],
        )
        for row in rows
    }


def _matters(known: tuple[Worth, Millis], worth: Worth, now: Millis, *, watched: bool) -> bool:
    """True when the worth must be written: what a limit is measured against at once, the rest now and then."""
    old, at = known
    if (old.day, old.capital) != (worth.day, worth.capital) or (watched and old.peak != worth.peak):
        return True
    return old != worth and now - at >= WRITE_AFTER


def _save(key: Key, worth: Worth, now: Millis) -> Any:
    scope, name, quote = key
    values = {
        "day": worth.day,
        "opened": worth.opened,
        "peak": worth.peak,
        "value": worth.value,
        "capital": worth.capital,
        "at": now,
    }
    added = insert(worths).values(scope=scope.value, name=name, quote=quote, **values)
    return added.on_conflict_do_update(index_elements=list(worths.primary_key), set_=values)
