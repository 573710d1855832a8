"""How workers end, on the whole stack: what is in the database, what the supervisor does next, what becomes of orders.

Real gateway, supervisor, workers and kernels; the market closes a bar when a test says so. One row of the table in
`docs/workers.md` is one test here.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from sqlalchemy import text

from cashup.cli.process import Process
from cashup.cli.stack import Market, Stack
from cashup.clock import parse_time
from cashup.markets.lake import Lake
from cashup.markets.synthetic import store_generated
from cashup.storage.database import create_engine
from cashup.storage.embedded import acquire
from cashup.trading.supervision import SUPERVISOR_LEASE
from tests.faults.checker import Checker
from tests.faults.scenarios.report import Scenario
from tests.faults.venue_book import VenueBook, simulator_book
from tests.integration.workers.conftest import write_notebook

pytestmark = pytest.mark.faults

HOUR = 3_600_000
START = "2025-01-01"
SECONDS = 60.0
PARAMETERS = ("parameters", 'symbols = ["ETH/USDT"]\ntimeframe = "1h"')
STRATEGY = """
import cashup as cu, os, pathlib, time
def target(bars):
    {first}
    return bars.close * 0 + {share}
strategy = cu.Strategy(target, symbols=symbols, timeframe=timeframe, warmup=2)
"""


@dataclass
class House:
    """A stack on which tests deploy what dies."""

    stack: Stack
    secrets: tuple[str, str]

    def deploy(
        self, name: str, first: str = "pass", cells: tuple[tuple[str, str], ...] = (), share: float = 0, **spec: Any
    ) -> None:
        """A deployment that does `first` at each bar and then wants this share, with more keys of its spec."""
        source = STRATEGY.format(first=first.replace("\n", "\n    "), share=share)
        run = [*cells, ("", source), ("", "print('it begins')\nrun = cu.run(strategy)"), ("", "print('tear sheet')")]
        notebook = write_notebook(self.stack.home / f"{name}.ipynb", [PARAMETERS, *run])
        body = {"notebook": str(notebook), "account": "main"}
        body |= {"capital": "1000", "symbols": ["ETH/USDT"], "timeframe": "1h", **spec}
        self.stack.client.put_deployment(name, body)
        self.stack.client.start(name)

    def row(self, name: str) -> dict[str, Any]:
        """The deployment as the gateway has it."""
        return self.stack.client.deployment(name)

    def attempt(self, name: str, number: int) -> dict[str, Any]:
        """One attempt, from the table."""
        query = "SELECT * FROM attempts WHERE deployment = :name AND number = :number"
        (row,) = self.ask(query, name=name, number=number)
        return row

    def ready(self, name: str, number: int = 1) -> None:
        """Wait until this attempt has its bars."""
        self.until(lambda: (a := self.row(name)["attempt"]) and a["number"] == number and a["state"] == "ready")

    def ended(self, name: str, number: int = 1) -> dict[str, Any]:
        """Wait until this attempt has ended; its row."""
        self.until(lambda: self.attempt(name, number)["finished_at"] is not None)
        return self.attempt(name, number)

    def close_bar(self) -> None:
        """The market closes its open bar."""

        async def step() -> None:
            async with self.stack.control() as control:
                await control.request("step")

        asyncio.run(step())

    def until(self, condition: Callable[[], object], seconds: float = SECONDS) -> None:
        """Wait for something."""
        end = time.monotonic() + seconds
        while True:
            with suppress(Exception):  # the gateway may be away
                if condition():
                    return
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.1)

    def decided(self, name: str, bars: int) -> None:
        """Wait until so many bars are decided."""
        self.until(lambda: len(self.stack.client.equity(name)) >= bars)

    def process(self, name: str, what: str) -> Any:
        """The worker `process` of a deployment, or its `kernel`."""
        for process in self.stack.worker_processes():
            with suppress(Exception):
                if {"cashup.workers.process", name} <= set(process.cmdline()):
                    return process if what == "process" else process.children()[0]
        raise AssertionError(f"{name} has no worker")

    def supervise_again(self) -> None:
        """Start the supervisor once more, when the lease of the one that was killed has run out."""
        time.sleep(SUPERVISOR_LEASE / 1000 + 1)
        self.stack.supervisor.start(announces=False)

    def ask(self, query: str, **values: Any) -> list[dict[str, Any]]:
        """Rows straight from the database of the stack."""

        async def read() -> list[dict[str, Any]]:
            engine = create_engine(self.url)
            async with engine.begin() as connection:
                found = await connection.execute(text(query), values)
                rows = [dict(row) for row in found.mappings()] if found.returns_rows else []
            await engine.dispose()
            return rows

        return asyncio.run(read())

    @property
    def url(self) -> str:
        held = acquire(self.stack.home)
        try:
            return held.database_url
        finally:
            held.release()


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    home = Path(tempfile.mkdtemp(prefix="cx-"))
    first = parse_time(START)
    store_generated(Lake(home / "lake"), "gate", "ETH/USDT", "1h", start=first - 20 * HOUR, bars=200, seed=1)
    try:
        with Stack(home, Market(["ETH/USDT"], "1h", START), env={"CASHUP_WARM": "0"}) as stack:
            customer = stack.add_account("main", {"USDT": "50000"})
            house = House(stack, (customer["key"], customer["secret"]))
            stack.supervise()
            yield house
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_a_clean_stop(house: House) -> None:
    house.deploy("clean", first="print('a bar', len(bars.close))")
    house.ready("clean")
    house.close_bar()
    house.decided("clean", 1)
    house.stack.client.stop("clean")
    row = house.ended("clean")
    assert (row["state"], row["exit_code"], row["reason"]) == ("finished", 0, "stopped")
    record = nbformat.read(row["output"], as_version=4)
    assert record.cells[-1].outputs[0].text == "tear sheet\n"
    log = (house.stack.home / "logs" / "clean.log").read_text()
    assert "stdout a bar 3" in log
    assert house.row("clean")["exit"] is None


def test_a_strategy_that_raises_is_given_up_on_at_once(house: House) -> None:
    house.deploy("error", first="raise ValueError('not today')")
    house.ready("error")
    house.close_bar()
    row = house.ended("error")
    assert (row["state"], row["exit_code"], row["reason"]) == ("failed", 1, "strategy_error")
    shown = house.row("error")
    assert (shown["desired"], shown["restarts"]["deaths"]) == ("stopped", 0)
    (alert,) = house.stack.client.alerts("error")
    assert "ValueError: not today" in alert["message"]
    assert "ValueError: not today" in (house.stack.home / "logs" / "error.log").read_text()


def test_a_notebook_that_ends_by_itself_is_given_up_on(house: House) -> None:
    house.deploy("ends", cells=(("", "import cashup\ncashup.run = lambda strategy: None"),))
    row = house.ended("ends")
    assert (row["state"], row["exit_code"], row["reason"]) == ("failed", 0, "notebook_ended")
    assert house.row("ends")["desired"] == "stopped"


@pytest.mark.parametrize("what", ["kernel", "process"])
def test_a_kernel_or_worker_that_is_killed_is_replaced(house: House, what: str) -> None:
    name = f"killed-{what}"
    house.deploy(name)
    house.ready(name)
    house.process(name, what).kill()
    row = house.ended(name)
    code = 138 if what == "kernel" else -9
    assert (row["state"], row["exit_code"], row["reason"]) == ("failed", code, "kernel_died")
    assert "SIGKILL" in row["message"]
    house.ready(name, 2)
    shown = house.row(name)
    assert (shown["desired"], shown["restarts"]["deaths"]) == ("running", 1)
    house.stack.client.stop(name)
    house.ended(name, 2)


def test_a_strategy_out_of_memory_is_started_again(house: House) -> None:
    house.deploy("memory", first="bytearray(1 << 50)", restarts={"limit": 1, "pause": 0.5})
    house.ready("memory")
    house.close_bar()
    row = house.ended("memory")
    assert (row["state"], row["exit_code"], row["reason"]) == ("failed", 137, "out_of_memory")
    assert house.ended("memory", 2)["reason"] == "out_of_memory"  # the bar was not decided, so it comes again
    house.until(lambda: house.row("memory")["desired"] == "stopped")
    (alert,) = house.stack.client.alerts("memory")
    assert "died 2 times" in alert["message"]


def test_a_strategy_that_has_no_room_to_write(house: House) -> None:
    write = "pathlib.Path('big').write_bytes(bytes(2 << 20))"
    house.deploy("disk", first=write, resources={"disk_mb": 1}, restarts={"limit": 0})
    house.ready("disk")
    house.close_bar()
    row = house.ended("disk")
    assert (row["state"], row["exit_code"], row["reason"]) == ("failed", 74, "disk_full")


def test_a_worker_that_is_deaf_to_its_stop_is_forced(house: House) -> None:
    deaf = "while True:\n    try:\n        time.sleep(3600)\n    except KeyboardInterrupt:\n        pass"
    house.deploy("deaf", first=deaf, hang_bars=0)
    house.ready("deaf")
    house.close_bar()
    house.until(lambda: house.stack.client.deployment("deaf")["attempt"]["state"] == "ready")
    house.stack.client.stop("deaf")
    worker = house.process("deaf", "process")
    worker.terminate()  # beside the supervisor's: the second one forces
    row = house.ended("deaf")
    assert (row["state"], row["exit_code"], row["reason"]) == ("failed", 143, "forced")


CGROUP = Path("/sys/fs/cgroup/memory") / f"cashup-test-{os.getpid()}"


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group with room for a worker and not for more."""
    try:
        CGROUP.mkdir()
        (CGROUP / "memory.limit_in_bytes").write_text(str(300 << 20))
    except OSError:
        pytest.skip("this machine lets nobody make a control group for memory")
    yield CGROUP
    for _ in range(100):
        with suppress(OSError):
            CGROUP.rmdir()
            return
        time.sleep(0.1)


def test_a_kernel_that_the_system_kills_for_memory(house: House, small_group: Path) -> None:
    grow = "held = []\nwhile True:\n    held.append(os.urandom(1 << 20))"
    house.deploy("killed-for-memory", first=grow, restarts={"limit": 0})
    supervisor = house.stack.supervisor
    # What it forks from now on is in the group; itself goes back as soon as the worker is there.
    (small_group / "cgroup.procs").write_text(str(supervisor.pid))
    house.ready("killed-for-memory")
    (CGROUP.parent / "cgroup.procs").write_text(str(supervisor.pid))
    house.close_bar()
    row = house.ended("killed-for-memory")
    assert (row["state"], row["reason"]) == ("failed", "out_of_memory")
    assert row["exit_code"] in (137, -9)  # the system chooses: the kernel as a rule, or the worker around it
    assert "killed for memory" in row["message"] or row["exit_code"] == -9


def test_a_worker_that_hangs_is_replaced_and_its_record_shows_where(house: House) -> None:
    hang = "marker = pathlib.Path('hung-once')\nif not marker.exists():\n    marker.touch()\n    time.sleep(3600)"
    house.deploy("hangs", first=hang)
    house.ready("hangs")
    for _ in range(4):
        house.close_bar()
        time.sleep(0.3)
    house.until(lambda: house.attempt("hangs", 1)["behind"] >= 3)
    row = house.ended("hangs")
    assert (row["state"], row["reason"]) == ("failed", "hung")
    assert "decided none" in row["message"]
    assert "time.sleep(3600)" in Path(row["output"]).read_text()
    log = (house.stack.home / "logs" / "hangs.log").read_text()
    assert log.index("bars yet; see `hang_bars`") < log.index("it is taken to hang")
    house.ready("hangs", 2)
    house.decided("hangs", 1)
    house.stack.client.stop("hangs")
    house.ended("hangs", 2)


def test_a_gateway_that_is_away_changes_nothing(house: House) -> None:
    house.deploy("away")
    house.ready("away")
    house.close_bar()
    house.decided("away", 1)
    house.stack.crash_gateway()
    house.stack.gateway.stop()
    time.sleep(3)
    house.stack.gateway.start()
    house.close_bar()
    house.decided("away", 2)
    assert house.row("away")["attempt"]["number"] == 1
    house.stack.client.stop("away")
    assert house.ended("away")["reason"] == "stopped"


def test_a_worker_whose_token_ran_out_while_the_gateway_was_away(house: House) -> None:
    house.deploy("expired")
    house.ready("expired")
    house.stack.gateway.stop()
    # Minutes pass: what the worker holds is of a key that the gateway does not take any more.
    keys = house.stack.home / "keys" / "jwt.pem"
    kept = keys.read_bytes()
    keys.unlink()
    house.stack.gateway.start()
    house.until(lambda: "ends: gateway_lost" in (house.stack.home / "logs" / "expired.log").read_text())
    house.stack.gateway.stop()
    keys.write_bytes(kept)
    house.stack.gateway.start()
    row = house.ended("expired")
    assert (row["state"], row["exit_code"], row["reason"]) == ("failed", 75, "gateway_lost")
    house.ready("expired", 2)
    house.stack.client.stop("expired")
    house.ended("expired", 2)


UPGRADED = """
import cashup.client
cashup.client.PROTOCOL += 1
from cashup.cli import main
main(["gateway", "--json"])
"""


def test_a_gateway_that_was_upgraded_ends_old_workers_and_that_is_no_death(house: House) -> None:
    house.deploy("upgraded")
    house.ready("upgraded")
    gateway = house.stack.gateway
    ordinary = gateway.arguments
    gateway.stop()
    gateway.arguments = [sys.executable, "-P", "-c", UPGRADED]
    gateway.start()
    row = house.ended("upgraded")
    gateway.stop()
    gateway.arguments = ordinary
    gateway.start()
    assert (row["state"], row["exit_code"], row["reason"]) == ("failed", 75, "gateway_upgraded")
    assert "protocol 2" in row["message"]
    house.until(lambda: house.row("upgraded")["state"] == "ready")
    house.stack.client.stop("upgraded")
    house.until(lambda: house.row("upgraded")["attempt"]["finished_at"] is not None)


def test_a_supervisor_that_lost_its_lease_gives_way(house: House) -> None:
    house.deploy("leased")
    house.ready("leased")
    first = house.stack.supervisor
    os.kill(first.pid, signal.SIGSTOP)
    second = Process(
        "second", ["live", "up", "--no-files"], log=house.stack.home / "logs" / "second.log", env=first.env
    )
    try:
        house.until(lambda: _supervises(second, house))
        house.ready("leased", 2)
        row = house.attempt("leased", 1)
        assert (row["state"], row["reason"]) == ("lost", "replaced")
        os.kill(first.pid, signal.SIGCONT)
        house.until(lambda: first.exit_code is not None)
        assert first.exit_code == 1
        assert "another supervisor is at work" in first.log.read_text()
        assert house.row("leased")["attempt"]["number"] == 2
        house.stack.client.stop("leased")
        house.ended("leased", 2)
    finally:
        second.stop()
    house.supervise_again()


def _supervises(second: Process, house: House) -> bool:
    """Start it until it gets the lease."""
    if second.exit_code is not None or not second.started:
        second.start(announces=False)
    time.sleep(1)
    return house.row("leased")["attempt"]["number"] == 2


def test_a_machine_that_was_started_anew(house: House) -> None:
    for name in ("rebooted", "rebooted-and-stopped"):
        house.deploy(name)
        house.ready(name)
    supervisor = house.stack.supervisor
    supervisor.kill()
    house.stack.client.stop("rebooted-and-stopped")
    house.ask("UPDATE attempts SET boot = 'an earlier life' WHERE deployment LIKE 'rebooted%'")
    house.supervise_again()
    house.ready("rebooted", 2)
    for name in ("rebooted", "rebooted-and-stopped"):
        row = house.attempt(name, 1)
        assert (row["state"], row["reason"]) == ("lost", "rebooted")
    assert house.row("rebooted")["restarts"]["deaths"] == 0
    house.stack.client.stop("rebooted")
    house.ended("rebooted", 2)


def test_deaths_are_remembered_by_the_next_supervisor(house: House) -> None:
    house.deploy("remembered", cells=(("", "import os\nos.abort()"),), restarts={"limit": 3, "pause": 2})
    house.ended("remembered", 2)
    house.stack.supervisor.kill()
    house.supervise_again()
    house.until(lambda: house.row("remembered")["desired"] == "stopped")
    rows = house.ask("SELECT reason, started_at, finished_at FROM attempts WHERE deployment = 'remembered'")
    assert [row["reason"] for row in rows] == ["kernel_died"] * 4
    assert rows[2]["started_at"] - rows[1]["finished_at"] >= 2_000
    command = [sys.executable, "-m", "cashup", "live", "ps"]
    shown = subprocess.run(command, env=house.stack.env, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in shown.splitlines() if line.startswith("remembered")]
    assert "kernel_died" in line


# --- what becomes of orders and positions ---------------------------------------------------------------------------

REST = {"symbol": "ETH/USDT", "side": "buy", "quantity": "0.1", "price": "100"}
DIES = "if pathlib.Path('doom').exists():\n    {how}"
"""What lies in the kernel's own folder is all that it sees of the outside."""


def _holding(house: House, name: str, how: str = "bytearray(1 << 50)", **spec: Any) -> str:
    """A deployment that holds something, with an order that rests; it dies at the bar after `_doom`. The order's id."""
    house.deploy(name, first=DIES.format(how=how), share=0.5, restarts={"limit": 0}, **spec)
    house.ready(name)
    house.close_bar()
    house.until(lambda: house.stack.client.positions(name))
    answer = house.stack.client.place_order(name, REST)
    assert answer["orders"], answer["decisions"]
    order = str(answer["orders"][0])
    house.until(lambda: house.stack.client.order(order)["state"] == "open")
    return order


def _doom(house: House, name: str, bars: int = 1) -> dict[str, Any]:
    """Let it die; its attempt's row, once nobody will start it again."""
    (house.stack.home / "work" / name / "doom").touch()
    for _ in range(bars):
        house.close_bar()
        time.sleep(0.3)
    house.until(lambda: house.row(name)["desired"] == "stopped")
    return house.attempt(name, 1)


def _held(house: House, name: str) -> list[str]:
    return [row["quantity"] for row in house.stack.client.positions(name) if float(row["quantity"])]


async def _at_rest(house: House, scenario: Scenario) -> None:
    engine = create_engine(house.url)

    async def book() -> VenueBook:
        return simulator_book(await asyncio.to_thread(house.stack.book), "main", [])

    await scenario.at_rest(Checker(engine, "main", book, secrets=list(house.secrets)))
    await engine.dispose()


def test_scenario_56_a_kernel_is_out_of_memory_or_hangs(house: House, scenario: Scenario) -> None:
    """The kernel of a worker runs out of memory, or hangs, while its deployment holds something and an order rests.

    The attempt is failed and says why. When nobody starts it again, its `on_exit` decides: the order is cancelled, or
    kept; the position is as it was.
    """
    said = []
    for name, how, policy, bars, reason in (
        ("memory-cancel", "bytearray(1 << 50)", "cancel", 1, "out_of_memory"),
        ("memory-keep", "bytearray(1 << 50)", "keep", 1, "out_of_memory"),
        ("hang-cancel", "time.sleep(3600)", "cancel", 4, "hung"),
    ):
        order = _holding(house, name, how, on_exit=policy)
        before = _held(house, name)
        row = _doom(house, name, bars)
        assert (row["state"], row["reason"]) == ("failed", reason)
        wanted = "cancelled" if policy == "cancel" else "open"
        house.until(lambda: house.stack.client.order(order)["state"] == wanted)  # noqa: B023  (called at once)
        if policy == "cancel":
            house.until(lambda: house.row(name)["exit"]["state"] == "done")  # noqa: B023
        assert _held(house, name) == before != []
        said.append(f"{reason} with on_exit {policy}: {row['state']}, the order {wanted}, the position as it was")
        if policy == "keep":
            house.stack.client.cancel_order(order)
            house.until(lambda: house.stack.client.order(order)["state"] == "cancelled")  # noqa: B023
    asyncio.run(_at_rest(house, scenario))
    scenario.seen("; ".join(said) + ".")


def test_a_death_with_a_restart_to_come_does_nothing_to_the_orders(house: House) -> None:
    house.deploy("goes-on", share=0.5, on_exit="flatten")
    house.ready("goes-on")
    house.close_bar()
    house.until(lambda: _held(house, "goes-on"))
    order = str(house.stack.client.place_order("goes-on", REST)["orders"][0])
    house.until(lambda: house.stack.client.order(order)["state"] == "open")
    held = _held(house, "goes-on")
    house.process("goes-on", "kernel").kill()
    house.ended("goes-on")
    house.ready("goes-on", 2)
    house.stack.client.restart("goes-on")
    house.ready("goes-on", 3)
    assert house.attempt("goes-on", 2)["reason"] == "stopped"
    assert house.stack.client.order(order)["state"] == "open"
    assert (_held(house, "goes-on"), house.row("goes-on")["exit"]) == (held, None)

    # A stop carries its policy out, over a crash of the gateway in the middle of it.
    house.stack.client.stop("goes-on")
    house.stack.crash_gateway()
    house.until(lambda: house.row("goes-on")["exit"]["state"] == "done")
    assert house.stack.client.order(order)["state"] == "cancelled"
    assert [float(amount) < 0.001 for amount in _held(house, "goes-on")] in ([], [True])  # less than can be sold
    told = [e["data"]["state"] for e in house.stack.client.events("deployment:goes-on") if e["kind"] == "exit_changed"]
    assert told == ["begun", "done"]
    actions = house.ask(
        "SELECT action FROM audit WHERE object = 'goes-on' AND action LIKE 'deployment.on_exit%' ORDER BY at"
    )
    assert [row["action"] for row in actions] == ["deployment.on_exit", "deployment.on_exit.done"]
    house.stack.client.stop("goes-on")  # again: nothing is sold twice
    assert house.row("goes-on")["exit"]["state"] == "done"
