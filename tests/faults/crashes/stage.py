"""The stage on which a gateway's process dies: a simulated venue, PostgreSQL and Redis, each behind a fault proxy."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.exchanges.rules import gate_market
from cashup.monitoring.tasks import end
from cashup.simulator.accounts import Account
from cashup.simulator.server import Simulator
from cashup.simulator.tape import Tape
from cashup.simulator.venue import Venue
from tests.faults.checker import Checker
from tests.faults.crashes.child import Death, live
from tests.faults.crashes.counting import Suspensions
from tests.faults.proxy import Proxy
from tests.faults.venue_book import VenueBook, simulator_book
from tests.integration.trading.conftest import BTC, ETH, deploy, until
from tests.integration.trading.test_kill import START, bars

ROOT = Path(__file__).parents[3]
KILLED = -9
SECONDS = 60.0


@dataclass
class Stage:
    """Everything around the process. `process` is the newest one."""

    database: AsyncEngine
    database_url: str
    redis_url: str
    simulator: Simulator
    account: Account
    venue: Proxy
    postgres: Proxy
    redis: Proxy
    process: asyncio.subprocess.Process | None = None
    died: list[int] = field(default_factory=list)

    def given(self, script: str, die: str | int | None) -> dict[str, Any]:
        """What a gateway is told."""
        given = {"database": self.database_url, "redis": self.redis_url, "venue": self.venue.url, "script": script}
        return given | {"key": self.account.key, "secret": self.account.secret, "die": die}

    async def start(self, script: str, die: str | int | None = None) -> None:
        """Start a process that carries the script out, and dies of itself at `die`."""
        given = self.given(script, die)
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.faults.crashes.child", json.dumps(given), cwd=ROOT
        )

    def kill(self) -> None:
        """`kill -9`."""
        assert self.process is not None
        self.process.kill()

    async def end(self) -> int:
        """Wait for the process; what it ended with."""
        assert self.process is not None
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()

    async def rest_of(self, script: str) -> None:
        """A new gateway finishes what the dead one began. It lives in this process, which spares its start."""
        for proxy in (self.venue, self.postgres, self.redis):
            proxy.hooks.clear()
        life = asyncio.create_task(live(self.given(script, None), Death(None), Suspensions(None)))
        _, waiting = await asyncio.wait([life], timeout=SECONDS)
        if waiting:
            for task in asyncio.all_tasks():
                task.print_stack()
            await end(life)
            raise TimeoutError(f"the new gateway did not finish within {SECONDS:.0f} s; above is what it waited for")
        life.result()

    async def sql(self, *statements: str) -> None:
        """Carry statements out, each in a transaction of its own."""
        for statement in statements:
            async with self.database.begin() as connection:
                await connection.execute(text(statement))

    async def rows(self, query: str, **values: Any) -> list[Any]:
        """The rows of a query."""
        async with self.database.connect() as connection:
            return list((await connection.execute(text(query), values)).mappings())

    async def holds(self, condition: str) -> bool:
        """Whether an SQL condition is true."""
        async with self.database.connect() as connection:
            return bool((await connection.execute(text(f"SELECT {condition}"))).scalar_one())

    async def simulator_has_orders(self) -> None:
        """Wait until what was written to the venue has arrived there."""

        async def look() -> bool:
            return bool(self.simulator.venue.orders)

        await until(look, SECONDS)

    async def check(self, script: str) -> None:
        """Each order is on the venue once, or not at all when a kill came before its sending, and every rule holds."""
        placed = [(order.pair, order.text) for order in self.simulator.venue.orders.values()]
        assert len({text for _, text in placed}) == len(placed)
        assert [pair for pair, _ in placed] == ["BTC_USDT"] if script == "buy" else len(placed) <= 3
        assert all(order.match.done for order in self.simulator.venue.orders.values())
        checker = Checker(self.database, "main", self.book, secrets=[self.account.key, self.account.secret])
        assert await checker.check_at_rest() == []

    async def book(self) -> VenueBook:
        """What the simulator holds of the account."""
        book = self.simulator.control.book({"account": "main"})
        return simulator_book(book, "main", self.simulator.limits.violations)


@asynccontextmanager
async def open_stage(database: AsyncEngine, database_url: str, redis_url: str, folder: Path) -> AsyncIterator[Stage]:
    """A stage with a deployment that has no process yet."""
    venue = Venue(Tape(bars()), {BTC: gate_market(BTC), ETH: gate_market(ETH)}, start=START)
    simulator = Simulator(venue)
    await simulator.start()
    account = venue.accounts.create("main", {"USDT": Decimal(25_000)})
    sockets = Path(database_url.partition("host=")[2])
    proxies = (
        Proxy(simulator.port),
        Proxy(sockets / ".s.PGSQL.5432", listen=folder / ".s.PGSQL.5432"),
        Proxy(Path(redis_url.removeprefix("unix://")), listen=folder / "redis.sock"),
    )
    for proxy in proxies:
        await proxy.start()
    await deploy(database)
    urls = (database_url.replace(str(sockets), str(folder)), f"unix://{folder / 'redis.sock'}")
    stage = Stage(database, *urls, simulator, account, *proxies)
    try:
        yield stage
    finally:
        if stage.process is not None and stage.process.returncode is None:
            stage.kill()
            await stage.process.wait()
        for proxy in proxies:
            await proxy.stop()
        await simulator.stop()
