"""How a process is killed at an exact moment.

In memory the process ends itself (`Itself`). On a connection a proxy sees the moment pass and kills it (`Passing`);
with `committed` the database has carried out what passed, and the answer never arrives. Within a statement a trigger
holds the database until the process is dead, and what was begun is undone (`Within`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from tests.faults.crashes.stage import KILLED, SECONDS, Stage
from tests.faults.proxy import DOWN, UP, Link
from tests.integration.trading.conftest import until


class Point(Protocol):
    """A moment. `strike` runs a script until it comes, and returns when the process is dead. It must come."""

    async def strike(self, stage: Stage, script: str) -> None:
        """Run `script` and die."""
        ...


@dataclass(frozen=True)
class Itself:
    """The process ends itself at a moment of `child.py`."""

    moment: str

    async def strike(self, stage: Stage, script: str) -> None:
        await stage.start(script, self.moment)
        assert await stage.end() == KILLED


@dataclass(frozen=True)
class Passing:
    """The process is killed when bytes with `what` in them pass on the connection `to` the venue, postgres or redis:
    when `share` of them have. With `committed`, an SQL condition, that is not before it has become true, and nothing
    comes back meanwhile."""

    to: str
    what: bytes
    direction: str = UP
    share: float = 0.0
    nth: int = 1
    committed: str | None = None

    async def strike(self, stage: Stage, script: str) -> None:
        async def kill(link: Link, data: bytes) -> None:
            link.mute(UP)  # what has not passed by now never will: the proxy must not outlive the process
            link.mute(DOWN)
            if self.committed is not None:
                condition = self.committed
                await until(lambda: stage.holds(condition), SECONDS)
            stage.kill()
            await stage.end()

        options = {"direction": self.direction, "what": self.what, "share": self.share, "nth": self.nth}
        hook = getattr(stage, self.to).when(kill, **options)
        await stage.start(script)
        assert await stage.end() == KILLED
        async with asyncio.timeout(SECONDS):
            await hook.reached.wait()


@dataclass(frozen=True)
class Within:
    """The process is killed while the database is about to write a row of `table`: `event` is INSERT or UPDATE."""

    table: str
    event: str = "INSERT"
    when: str = "true"

    async def strike(self, stage: Stage, script: str) -> None:
        hold = "PERFORM pg_sleep(60); RAISE EXCEPTION 'undone'"
        await stage.sql(
            f"CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {hold}; END $$",
            f"CREATE TRIGGER hold BEFORE {self.event} ON {self.table} FOR EACH ROW WHEN ({self.when}) "
            "EXECUTE FUNCTION hold()",
        )
        await stage.start(script)
        sleeping = "EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database())"
        await until(lambda: stage.holds(sleeping), SECONDS)
        stage.kill()
        assert await stage.end() == KILLED
        await stage.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE wait_event = 'PgSleep' AND datname = current_database()",
            f"DROP TRIGGER hold ON {self.table}",
            "DROP FUNCTION hold()",
        )


@dataclass(frozen=True)
class AfterDeath:
    """The moment comes to a second process: the first one dies when its order is written and not answered."""

    then: Point

    async def strike(self, stage: Stage, script: str) -> None:
        await WRITTEN.strike(stage, script)
        await stage.simulator_has_orders()
        stage.venue.hooks.clear()
        await self.then.strike(stage, script)


WRITTEN = Passing("venue", b"POST /api/v4/spot/orders", share=1.0)
