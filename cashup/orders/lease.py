"""The lease: one gateway trades an account at a time, and every write checks that it is still the one.

The row's `fence` grows with every change of hands. A gateway that lost the lease without noticing (it was paused, or
cut off) can write nothing more, because the journal's guard compares the fence in the statement that writes.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cashup.clock import Clock
from cashup.events import EventKind
from cashup.orders.ids import random_bits
from cashup.orders.journal import NOW, LeaseLost
from cashup.orders.tables import account_leases
from cashup.storage.database import transaction
from cashup.storage.outbox import emit
from cashup.types import Millis

DURATION: Millis = 10_000
_RENEW_SECONDS = 3.0


class AccountState(StrEnum):
    """Whether an account is traded: not before its books are compared with the venue."""

    RECONCILING = "reconciling"
    READY = "ready"
    BLOCKED = "blocked"


class Holder:
    """This process as a holder of leases."""

    def __init__(self) -> None:
        self.host = socket.gethostname()
        self.name = f"{self.host}/{os.getpid()}/{random_bits.get()(32):08x}"

    def gone(self, name: str) -> bool:
        """True when `name` was a process of this host that does not exist any more."""
        host, _, rest = name.partition("/")
        process = rest.partition("/")[0]
        if host != self.host or not process.isdigit():
            return False
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


class Lease:
    """The lease of one account in the hands of this process."""

    def __init__(self, engine: AsyncEngine, account: str, fence: int, opened_at: Millis | None) -> None:
        self.account = account
        self.fence = fence
        self.opened_at = opened_at
        self._engine = engine

    @classmethod
    async def take(cls, engine: AsyncEngine, account: str, holder: Holder) -> Lease | None:
        """The lease with a new fence, or None while another process holds it."""
        lease = account_leases.c
        async with transaction(engine) as connection:
            query = select(lease.holder).where(lease.account == account)
            before = (await connection.execute(query)).scalar_one_or_none()
            dead = before if before is not None and holder.gone(before) else None
            added = insert(account_leases).values(
                account=account,
                holder=holder.name,
                fence=1,
                expires=NOW + DURATION,
                state=AccountState.RECONCILING.value,
            )
            taken = added.on_conflict_do_update(
                index_elements=[lease.account],
                set_={
                    "holder": holder.name,
                    "fence": lease.fence + 1,
                    "expires": NOW + DURATION,
                    "state": AccountState.RECONCILING.value,
                },
                where=or_(lease.expires < NOW, lease.holder == holder.name, lease.holder == dead),
            )
            row = (await connection.execute(taken.returning(lease.fence, lease.opened_at))).first()
        return None if row is None else cls(engine, account, row.fence, row.opened_at)

    async def keep(self) -> None:
        """Renew until cancelled; raises LeaseLost when somebody else has taken it."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            await self._update(expires=NOW + DURATION)

    async def release(self) -> None:
        """Let another gateway have it at once."""
        await self._update(expires=0)

    async def hold(self, connection: AsyncConnection) -> None:
        """Keep it in these hands until the transaction of `connection` ends.

        Raises LeaseLost when it is in other hands or has run out, as after a pause.
        """
        lease = account_leases.c
        mine = (lease.account == self.account) & (lease.fence == self.fence) & (lease.expires > NOW)
        if (await connection.execute(select(lease.fence).where(mine).with_for_update(read=True))).first() is None:
            raise self._lost()

    async def mark(
        self, state: AccountState, message: str, clock: Clock, comparison: Mapping[str, Any] | None = None
    ) -> None:
        """Set the account's state, which the send claim checks, and what was compared, and tell about it."""
        async with transaction(self._engine) as connection:
            mine = (account_leases.c.account == self.account) & (account_leases.c.fence == self.fence)
            changed = update(account_leases).where(mine).values(state=state.value, message=message)
            if comparison is not None:
                changed = changed.values(comparison=dict(comparison))
            if (await connection.execute(changed)).rowcount == 0:
                raise self._lost()
            data: dict[str, Any] = {"account": self.account, "state": state.value, "message": message}
            if comparison is not None:
                data["differences"] = comparison["differences"]
            await emit(connection, f"account:{self.account}", EventKind.ACCOUNT_CHANGED, data, clock.now())

    async def _update(self, **values: object) -> None:
        mine = (account_leases.c.account == self.account) & (account_leases.c.fence == self.fence)
        async with transaction(self._engine) as connection:
            if (await connection.execute(update(account_leases).where(mine).values(**values))).rowcount == 0:
                raise self._lost()

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"another gateway trades account {self.account} now, or the lease ran out")
