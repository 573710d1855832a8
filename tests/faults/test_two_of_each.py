"""Two supervisors and two gateways on one machine, as processes: the lease decides, by the database's clock alone."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from cashup.cli.ports import free_port
from cashup.cli.process import Process
from cashup.cli.stack import Market, Stack
from cashup.client import Client, Row, Socket
from cashup.clock import WallClock, parse_time
from cashup.errors import Unavailable
from cashup.markets.lake import Lake
from cashup.markets.synthetic import store_generated
from cashup.storage.database import create_engine
from cashup.storage.embedded import acquire
from cashup.users.roles import Role
from cashup.users.tokens import Audience, Tokens
from tests.faults.checker import Checker
from tests.faults.venue_book import VenueBook, simulator_book
from tests.integration.workers.conftest import CONTRACT, HOUR, write_notebook

pytestmark = pytest.mark.faults

START = "2025-01-01"
FIRST = parse_time(START)
BARS = 60
SYMBOL = "ETH/USDT"
SKEW = 3_600
PATIENCE_SECONDS = 60.0


@pytest.fixture
def stack() -> Iterator[Stack]:
    home = Path(tempfile.mkdtemp(prefix="cx-"))  # short: sockets live in it
    store_generated(Lake(home / "lake"), "gate", SYMBOL, "1h", start=FIRST - 20 * HOUR, bars=BARS + 20, seed=1)
    with Stack(home, Market([SYMBOL], "1h", START)) as stack:
        stack.add_account("main", {"USDT": "10000"})
        yield stack
    shutil.rmtree(home, ignore_errors=True)


def wrong_clock(seconds: int) -> dict[str, str]:
    """The variables with which a process sees another time of day. Its monotonic clock stays right, as it does."""
    spec = find_spec("libfaketime")
    library = spec and spec.origin and Path(spec.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
    if not library or not library.is_file():
        pytest.skip("libfaketime is not installed: no process with a wrong clock")
    return {"LD_PRELOAD": str(library), "FAKETIME": f"{seconds:+d}s", "DONT_FAKE_MONOTONIC": "1"}


def until(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """What `condition` gives as soon as it is something."""
    for _ in range(round(seconds / 0.05)):
        if found := condition():
            return found
        threading.Event().wait(0.05)
    pytest.fail("it did not happen")


def supervisor(stack: Stack, name: str, *words: str, env: Mapping[str, str] | None = None) -> Process:
    """Another supervisor of the same home."""
    arguments = ["live", "up", "--no-files", *words]
    return Process(name, arguments, log=stack.home / "logs" / f"{name}.log", env=stack.env | dict(env or {}))


def log_of(process: Process) -> str:
    return process.log.read_text(errors="replace") if process.log.exists() else ""


def gone(processes: Sequence[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def rows(stack: Stack, query: str) -> list[Row]:
    """The rows of a query on the stack's database."""

    async def ask() -> list[Row]:
        database = create_engine(servers.database_url)
        async with database.connect() as connection:
            found = [dict(row) for row in (await connection.execute(text(query))).mappings()]
        await database.dispose()
        return found

    servers = acquire(stack.home)
    try:
        return asyncio.run(ask())
    finally:
        servers.release()


def lease(stack: Stack) -> Row:
    """Who holds the account, and how much of the lease is left by the database's clock (ms)."""
    left = "expires - extract(epoch FROM clock_timestamp()) * 1000 AS remaining"
    (row,) = rows(stack, f"SELECT holder, fence, {left} FROM account_leases WHERE account = 'main'")  # noqa: S608
    return row


def sent_once(stack: Stack) -> list[str]:
    """The ids of all orders that ever reached the venue, each of which has to be there once."""
    placed = [order["text"] for order in stack.book()["accounts"]["main"]["orders"]]
    assert len(placed) == len(set(placed))
    return placed


def all_is_well(stack: Stack) -> None:
    """The checker's rules between our tables and the venue's own book, when nothing is on its way any more."""

    async def check() -> list[str]:
        database = create_engine(servers.database_url)

        async def book() -> VenueBook:
            return simulator_book(await stack._ask("book"), "main")

        said: list[str] = []
        for _ in range(100):
            if not (said := await Checker(database, "main", book).check_at_rest()):
                break
            await asyncio.sleep(0.1)
        await database.dispose()
        return said

    servers = acquire(stack.home)
    try:
        assert asyncio.run(check()) == []
    finally:
        servers.release()


async def _as_attempt(stack: Stack, attempt: int, bar: int) -> list[str]:
    """What the gateway says to an intent of this attempt, whose token is genuine: its messages, and how it ends."""
    tokens = Tokens(stack.home, WallClock())
    bound = {"deployment": "demo", "attempt": attempt, "fence": attempt}
    admin = await _session(stack)
    token = tokens.issue("admin", Audience.WORKER, role=Role.ADMIN, session=admin, **bound)  # type: ignore[arg-type]
    socket = await Socket.connect(stack.url, token)
    await socket.send({"type": "intent", "key": str(bar), "bar": bar, "targets": {SYMBOL: 1.0}})
    said: list[str] = []
    try:
        async with asyncio.timeout(20):
            while not said or not said[-1].startswith("intent."):
                said.append((await socket.receive())["type"])
    except Unavailable as error:
        said.append(str(error))
    finally:
        await socket.close()
    return said


async def _session(stack: Stack) -> int:
    return int(
        (await asyncio.to_thread(rows, stack, "SELECT session_version FROM users WHERE name = 'admin'"))[0][
            "session_version"
        ]
    )


def test_a_supervisor_that_was_paused_finds_another_one_and_ends_its_workers(stack: Stack) -> None:
    notebook = write_notebook(stack.home / "sma.ipynb", CONTRACT)
    stack.deploy("demo", notebook, account="main", capital="10000")
    stack.drive(["demo"], until=FIRST + 10 * HOUR)

    # A clock that is an hour ahead does not make the lease of a living one old.
    hasty = supervisor(stack, "hasty", env=wrong_clock(SKEW)).start(announces=False)
    assert until(lambda: hasty.exit_code) == 1
    assert "another supervisor is at work" in log_of(hasty)

    first = stack.supervisor
    paused = [psutil.Process(first.pid), *stack.worker_processes()]
    assert len(paused) == 3  # with its worker and the kernel of that one
    for process in paused:
        process.suspend()
    began = time.monotonic()
    second = supervisor(stack, "second", "--wait", env=wrong_clock(-SKEW)).start(announces=False)
    stack.supervisor = second  # it is this one that has to live from now on
    stack._exit.callback(second.stop)
    until(lambda: stack.client.deployment("demo")["fence"] == 2)
    assert time.monotonic() - began > 4  # the lease was renewed no more than three seconds before
    until(lambda: stack.client.deployment("demo")["state"] == "ready")
    stack.drive(["demo"], until=FIRST + 20 * HOUR)

    late = asyncio.run(_as_attempt(stack, 1, FIRST + 21 * HOUR))
    for process in reversed(paused):
        process.resume()
    until(lambda: gone(paused), 15)
    assert first.exit_code == 1
    assert "another supervisor is at work" in log_of(first)
    assert late[0] == "stop"
    assert "attempt 1 of demo is not the running one any more" in late[1], late
    stack.drive(["demo"], until=FIRST + 30 * HOUR)
    stack.client.stop("demo")
    stack.wait_until_ended("demo")

    accepted = rows(stack, "SELECT fence, bar FROM intents WHERE kind = 'target' ORDER BY number")
    bars = [row["bar"] for row in accepted]
    assert bars == list(range(bars[0], FIRST + 30 * HOUR + 1, HOUR))  # every bar once, in order
    handed_over = next(number for number, row in enumerate(accepted) if row["fence"] == 2)
    assert {row["fence"] for row in accepted[handed_over:]} == {2}
    assert {row["fence"] for row in accepted[:handed_over]} == {1}
    ends = {row["number"]: row["state"] for row in rows(stack, "SELECT number, state FROM attempts")}
    assert ends == {1: "lost", 2: "finished"}
    assert len(sent_once(stack)) == len(rows(stack, "SELECT 1 FROM orders WHERE claimed_at IS NOT NULL"))
    assert sent_once(stack)
    all_is_well(stack)


def resting_order(home: Path) -> Row:
    """An order that rests: a little below the price at which the market stands when it is opened."""
    bars = Lake(home / "lake").bars("gate", [SYMBOL], "1h")
    close = bars.close[SYMBOL][bars.close.index.as_unit("ms").asi8 < FIRST].iloc[-1]
    return {"symbol": SYMBOL, "side": "buy", "quantity": "0.1", "price": f"{0.97 * close:.2f}"}


def place(client: Client, order: Row, key: str, seconds: float = PATIENCE_SECONDS) -> str:
    """An order, asked for with the same key until this gateway takes it; its id."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = client.place_order("demo", order, key=key)
            assert answer["orders"], answer
            return str(answer["orders"][0])
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def another_gateway(stack: Stack, name: str, env: Mapping[str, str] | None = None) -> tuple[Process, Client]:
    port = free_port()
    given = stack.env | {"CASHUP_PORT": str(port), "CASHUP_GATEWAY_URL": f"http://127.0.0.1:{port}"} | dict(env or {})
    process = Process(name, ["gateway", "--json"], log=stack.home / "logs" / f"{name}.log", env=given).start()
    stack._exit.callback(process.stop)
    client = stack._exit.enter_context(Client(f"http://127.0.0.1:{port}", stack.client.token))
    return process, client


def test_a_gateway_that_was_paused_sends_nothing_any_more(stack: Stack) -> None:
    notebook = write_notebook(stack.home / "sma.ipynb", CONTRACT)
    spec = {"notebook": str(notebook), "account": "main", "capital": "1000", "symbols": [SYMBOL], "timeframe": "1h"}
    stack.client.put_deployment("demo", spec)
    stack.client.start("demo")
    order = resting_order(stack.home)
    one = place(stack.client, order, "one")
    first = lease(stack)

    # One whose clock is an hour ahead, so that every lease looks old to it, takes nothing from a living one.
    hasty, hurried = another_gateway(stack, "hasty", wrong_clock(SKEW))
    with pytest.raises(Unavailable):
        place(hurried, order, "hasty", seconds=5)
    assert (lease(stack)["holder"], lease(stack)["fence"]) == (first["holder"], first["fence"])
    hasty.stop()

    second, client = another_gateway(stack, "second")
    os.kill(stack.gateway.pid, signal.SIGSTOP)
    left = lease(stack)["remaining"]
    two = place(client, order, "two")
    taken = lease(stack)
    assert left > 0
    assert taken["fence"] > first["fence"]
    os.kill(stack.gateway.pid, signal.SIGCONT)
    with pytest.raises(Unavailable):
        place(stack.client, order, "three", seconds=3)
    three = place(client, order, "three")  # the same key, where the account is traded
    assert lease(stack)["holder"] == taken["holder"]

    until(lambda: len(sent_once(stack)) == 3)
    assert set(sent_once(stack)) == {one, two, three}
    for placed in (one, two, three):
        client.cancel_order(placed)
    until(lambda: not rows(stack, "SELECT 1 FROM orders WHERE state <> 'cancelled'"))
    assert second.exit_code is None
    assert stack.gateway.exit_code is None
    all_is_well(stack)
