"""An operator who kills deployments, accounts or everything, and lifts it again: nothing is claimed meanwhile."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.clock import Clock
from cashup.errors import NotFound
from cashup.trading.halts import Halts, Scope
from cashup.trading.kill import Kill, KillSwitch

if TYPE_CHECKING:
    from tests.faults.simulation.world import World

_CLAIMED = """
    SELECT client_order_id FROM orders
    WHERE claimed_at IS NOT NULL AND NOT flattens AND (:deployment = '' OR deployment = :deployment) ORDER BY 1
    """


class Operator:
    """Works from a process of its own, with the machine's own clock."""

    def __init__(self, world: World, database: AsyncEngine, clock: Clock, random: Random) -> None:
        self._world = world
        self._database = database
        self._random = random
        self._switch = KillSwitch(database, clock, Halts(database, clock))
        self._killed: tuple[Scope, str] | None = None

    async def run(self, deployments: tuple[str, ...], account: str) -> None:
        """Until cancelled."""
        places = [(Scope.DEPLOYMENT, name) for name in deployments] + [(Scope.ACCOUNT, account), (Scope.ALL, "")]
        while True:
            await asyncio.sleep(self._random.expovariate(1 / 90))
            await self._kill(*self._random.choice(places))

    async def _kill(self, scope: Scope, name: str) -> None:
        self._world.note(f"fault: kill of {scope} {name}")
        self._killed = (scope, name)
        await self._switch.kill(Kill(scope, name, flatten=self._random.random() < 0.2), by="ann")
        before = await self._claimed(scope, name)
        await asyncio.sleep(self._random.uniform(0.5, 20))
        if (after := await self._claimed(scope, name)) != before:
            self._world.complain(f"I13: {after - before} were claimed while {name or scope} was killed")
        await self.lift()

    async def lift(self) -> None:
        """Take back what is killed."""
        if self._killed is not None:
            killed, self._killed = self._killed, None
            try:
                await self._switch.unkill(*killed, by="ann")
            except NotFound:
                self._world.note("the kill was never committed")

    async def _claimed(self, scope: Scope, name: str) -> set[str]:
        values = {"deployment": name if scope is Scope.DEPLOYMENT else ""}
        async with self._database.connect() as connection:
            return set((await connection.execute(text(_CLAIMED), values)).scalars())
