"""Who may start workers: leases in the database, by its clock, for a whole machine or for one deployment.

A supervisor of a machine holds the lease of machines and, beside it, that of every deployment it works for; one that
keeps a single deployment (a pod) holds that one's alone. So two of them never work for the same deployment, whatever
their own clocks say: only the holder may begin an attempt.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cashup.clock import Clock
from cashup.errors import Conflict
from cashup.orders.journal import NOW
from cashup.storage.database import transaction
from cashup.trading.endings import Place, lose_rebooted
from cashup.trading.tables import supervisor_leases
from cashup.types import Millis

SUPERVISOR_LEASE: Millis = 10_000
"""How long a supervisor may be silent before another one may take over."""

_MACHINE = "supervisor"
_DEPLOYMENT = "deployment/"
_lease = supervisor_leases.c


@dataclass(frozen=True, slots=True)
class Hold:
    """What a supervisor holds until `expires`, and which of its deployments another one has taken."""

    expires: Millis
    lost: tuple[str, ...]


class Supervision:
    """The leases of the supervisors of one database."""

    def __init__(self, database: AsyncEngine, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def take(
        self, holder: str, place: Place | None = None, *, only: str | None = None, running: Collection[str] = ()
    ) -> Hold:
        """Take or renew the right to start workers: those of the deployment `only`, or those that nobody else keeps.

        `running` are the deployments that `holder` works for now. Attempts that ran at `place` before its machine was
        started anew are lost. Raises Conflict while another one has the right.
        """
        async with transaction(self._database) as connection:
            name = _MACHINE if only is None else _DEPLOYMENT + only
            if not await _take(connection, holder, [name]):
                raise await _held(connection, name)
            wanted = [] if only is not None else [_DEPLOYMENT + deployment for deployment in sorted(set(running))]
            got = await _take(connection, holder, wanted)
            if place is not None:
                await lose_rebooted(connection, place, self._clock.now())
            expires = (await connection.execute(select(_lease.expires).where(_lease.name == name))).scalar_one()
        return Hold(int(expires), tuple(name.removeprefix(_DEPLOYMENT) for name in wanted if name not in got))

    async def release(self, holder: str, *, only: str | None = None) -> None:
        """Give everything back that `holder` has, or the deployment `only`; what another one has stays."""
        mine = _lease.holder == holder
        if only is not None:
            mine &= _lease.name == _DEPLOYMENT + only
        async with transaction(self._database) as connection:
            await connection.execute(update(supervisor_leases).where(mine).values(expires=0))


async def claim(connection: AsyncConnection, deployment: str, holder: str | None) -> None:
    """Make `holder` the one who works for `deployment`, in the transaction that begins an attempt.

    Without a holder somebody begins an attempt by hand. Raises Conflict while another one works for it.
    """
    name = _DEPLOYMENT + deployment
    if holder is None:
        held = select(_lease.name).where(_lease.name == name, _lease.expires >= NOW)
        if (await connection.execute(held)).first() is not None:
            raise await _held(connection, name)
    elif not await _take(connection, holder, [name]):
        raise await _held(connection, name)


async def _take(connection: AsyncConnection, holder: str, names: list[str]) -> set[str]:
    """Those of `names` that `holder` has now."""
    if not names:
        return set()
    rows = [{"name": name, "holder": holder, "expires": NOW + SUPERVISOR_LEASE} for name in names]
    taken = (
        insert(supervisor_leases)
        .values(rows)
        .on_conflict_do_update(
            index_elements=[_lease.name],
            set_={"holder": holder, "expires": NOW + SUPERVISOR_LEASE},
            where=or_(_lease.holder == holder, _lease.expires < NOW),
        )
    )
    return set((await connection.execute(taken.returning(_lease.name))).scalars())


async def _held(connection: AsyncConnection, name: str) -> Conflict:
    other = (await connection.execute(select(_lease.holder).where(_lease.name == name))).scalar_one()
    what = "is at work" if name == _MACHINE else f"works for {name.removeprefix(_DEPLOYMENT)}"
    return Conflict(
        f"supervisor {other} {what}; stop it first, or wait {SUPERVISOR_LEASE // 1000} s", code="supervised"
    )
