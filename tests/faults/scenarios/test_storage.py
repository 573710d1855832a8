"""PostgreSQL restarts or takes no writes, Redis forgets: nothing is sent blindly, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from redis.asyncio import Redis
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from cashup.errors import CashUpError, StorageError, Unavailable
from cashup.storage import schema
from cashup.storage.database import create_engine
from cashup.storage.embedded import acquire
from cashup.storage.events import Events
from cashup.storage.outbox import Relay
from cashup.trading.countdown import REASON
from tests.faults.proxy import Link, Proxy
from tests.faults.scenarios.bench import BTC, LIMIT, PATIENCE, Bench, open_bench
from tests.faults.scenarios.report import Scenario
from tests.integration.trading.conftest import until

pytestmark = pytest.mark.faults


@pytest.fixture
async def own_server() -> AsyncIterator[tuple[Path, Proxy, AsyncEngine]]:
    """A PostgreSQL of the test's own behind a proxy: its folder, the proxy, and an engine on the way through it."""
    home, folder = (Path(tempfile.mkdtemp(prefix=prefix)) for prefix in ("cashup-own-", "cx-"))
    servers = await asyncio.to_thread(acquire, home)
    sockets = Path(servers.database_url.partition("host=")[2])
    proxy = Proxy(sockets / ".s.PGSQL.5432", listen=folder / ".s.PGSQL.5432")
    await proxy.start()
    engine = create_engine(servers.database_url.replace(str(sockets), str(folder)))
    await schema.upgrade(engine)
    try:
        yield home / "postgres" / "data", proxy, engine
    finally:
        await engine.dispose()
        await proxy.stop()
        await asyncio.to_thread(servers.release)
        for path in (home, folder):
            shutil.rmtree(path, ignore_errors=True)


async def test_scenario_42_postgres_restarts_in_a_commit(
    own_server: tuple[Path, Proxy, AsyncEngine], scenario: Scenario
) -> None:
    """PostgreSQL crashes while the commit of an intent is under way, and comes back.

    What became of it is read by its key; nothing is sent without proof of the commit.
    """
    data, proxy, database = own_server
    async with open_bench(database, scenario) as bench:

        def crash(link: Link, body: bytes) -> None:
            os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)

        commit = proxy.when(crash, what=b'"body_hash"', share=1.0)
        refused = 0

        async def accepted() -> bool:
            nonlocal refused
            try:
                await bench.submit(1, {BTC: 0.5})
            except CashUpError:
                refused += 1
                return False
            return True

        async def processed() -> bool:
            try:
                await bench.processed(1)
            except (DBAPIError, OSError):
                return False  # the answer to the commit came before the end, which whoever looks on then meets
            return True

        await until(accepted, 60)
        assert commit.reached.is_set()
        await until(processed, 60)
        counts = (await bench.count("intents"), await bench.count("orders"), len(bench.writes("place")))
        assert counts == (1, 1, 1)
        await bench.at_rest()
        scenario.seen(
            f"Whoever asked was told to ask again {'and did' if refused else 'or had the answer'}: {counts[0]} intent, "
            f"{counts[1]} order, sent {counts[2]} time."
        )


async def _read_only(bench: Bench, on: bool) -> None:
    """The database takes no writes any more, or does again; whoever is connected must connect anew."""
    async with bench.database.connect() as connection:
        outside = await connection.execution_options(isolation_level="AUTOCOMMIT")
        name = (await outside.execute(text("SELECT current_database()"))).scalar_one()
        await outside.execute(text("SET default_transaction_read_only = off"))
        setting = "SET default_transaction_read_only = on" if on else "RESET default_transaction_read_only"
        await outside.execute(text(f"ALTER DATABASE {name} {setting}"))
        await outside.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    await bench.database.dispose()


async def test_scenario_43_postgres_takes_no_writes(database: AsyncEngine, scenario: Scenario) -> None:
    """PostgreSQL becomes read-only, as it does when its disk is full, while two orders rest.

    Intents are answered with 503 and nothing is sent; a cancel still goes to the venue; the venue's countdown takes the
    rest, and afterwards the books say what happened.
    """
    patience = replace(PATIENCE, refresh=200, countdown=5, answer=1_000)
    async with open_bench(database, scenario, patience) as bench:
        first, second = await bench.resting_order(), await bench.resting_order()
        theirs = str((await bench.order(first))["exchange_order_id"])
        await _read_only(bench, on=True)
        for number in range(2):
            with pytest.raises(Unavailable) as refused:
                await bench.place(f"more-{number}", **LIMIT)
        assert refused.value.status == 503
        with pytest.raises(Unavailable, match="the venue has cancelled"):
            await bench.cancel("c", theirs)
        left = bench.resting()

        async def gone() -> bool:
            return bench.resting() == 0

        await until(gone)
        sent = len(bench.writes("place"))
        await _read_only(bench, on=False)
        await bench.order(first, "cancelled")
        order = await bench.order(second, "cancelled")
        await bench.engine.ready("main")
        assert (refused.value.code, left, sent, order["reason"]) == ("account_not_ready", 1, 2, REASON)
        await bench.at_rest()
        scenario.seen(
            f"An intent got {refused.value.status} ({refused.value.code}), a cancel left {left} resting, the countdown "
            f"took it (“{order['reason']}”); {sent - 2} orders were sent meanwhile, and the books followed."
        )


async def test_scenario_44_redis_is_flushed(bench: Bench, redis: Redis) -> None:
    """Redis forgets everything while events are told.

    They come from the database again, without a gap; trading does not notice.
    """
    relay, events = Relay(bench.database, redis), Events(bench.database, redis)
    running = [asyncio.create_task(work) for work in (relay.run(), events.run())]
    heard: list[int] = []

    async def listen() -> None:
        async for event in events.subscribe(["deployment:*", "account:*"], after=0):
            heard.append(event.seq)

    running.append(asyncio.create_task(listen()))
    for bar in range(1, 4):
        await bench.submit(bar, {BTC: 0.5 if bar % 2 else 0.0})
        await bench.processed(bar)
        await redis.flushall()
    numbers = [row["seq"] for row in await bench.rows("SELECT seq FROM outbox ORDER BY seq")]

    async def all_heard() -> bool:
        return len(heard) >= len(numbers)

    await until(all_heard)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert heard == numbers
    assert len(bench.writes("place")) == 3
    await bench.at_rest()
    bench.scenario.seen(
        "Flushed after each of 3 bars: the listener heard every number once, in order, without a gap; 3 orders, filled."
    )


UPGRADE = """
import asyncio, sys
from cashup.storage import schema
from cashup.storage.database import create_engine
schema.load()
asyncio.run(schema.upgrade(create_engine(sys.argv[1])))
"""


async def test_scenario_60_an_upgrade_is_killed_half_way(empty_database_url: str, scenario: Scenario) -> None:
    """The upgrade of the database is killed half-way, in the middle of a migration.

    A start is refused with a sentence that says what to do; the upgrade, run again, completes.
    """
    database = create_engine(empty_database_url)

    def to_before(connection: Connection) -> None:
        command.upgrade(schema.config(connection), "0005")

    async with database.connect() as connection:
        await connection.run_sync(to_before)
        await connection.commit()
    async with database.connect() as holder:
        await holder.execute(text("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"))
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", UPGRADE, empty_database_url)

        async def in_the_middle() -> bool:
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'orders'::regclass")
            return bool((await holder.execute(waiting)).scalar_one())

        await until(in_the_middle, 60)
        child.kill()
        await child.wait()
    with pytest.raises(StorageError, match="cashup db upgrade") as refused:
        await schema.prepare(database, ours=False)
    async with database.connect() as connection:
        left = await schema.current(connection)
    assert await schema.upgrade(database) == schema.head()
    await schema.prepare(database, ours=False)
    await database.dispose()
    assert left == "0007"  # 0008 is the first one after 0005 that waits for the orders
    scenario.seen(
        f"The start was refused ({refused.value.code}: run `cashup db upgrade`), nothing of the migration that was cut "
        "off was left, and the upgrade completed when it was run again."
    )
