"""A hostile notebook as a real worker's kernel, beside a sibling that trades: what it gets hold of."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from cashup.cli.stack import Market, Stack
from cashup.clock import parse_time
from cashup.markets.lake import Lake
from cashup.markets.synthetic import store_generated
from cashup.workers import landlock, seccomp
from cashup.workers.sandbox import _WHOLE
from tests.faults.escapes import table
from tests.faults.escapes.table import DONE, NONE, REFUSED, WALLS
from tests.faults.test_two_of_each import resting_order, until
from tests.integration.workers.conftest import CONTRACT, HOUR, write_notebook

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]
SOURCE = (Path(__file__).parent / "escapes" / "probes.py").read_text()
START = "2025-01-01"
FIRST = parse_time(START)
CANARY = "planted-canary-4711"
AS_ROOT = os.geteuid() == 0

HOSTILE = [
    ("parameters", 'symbols = ["ETH/USDT"]\ntimeframe = "1h"\nfast = 2\nslow = 4\nfacts = {}'),
    ("", SOURCE),
    (
        "",
        "from cashup.workers import context\n"
        "token = context.take_token()\n"
        "context._token = token\n"
        "print('PROBES', json.dumps(attack(facts, token)))",
    ),
    *CONTRACT[1:3],
]


def probes() -> set[str]:
    """The names in the file of probes."""
    named = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.Call)]
    names = [node.args[0] for node in named if isinstance(node.func, ast.Name) and node.func.id == "probe"]
    return {name.value for name in names if isinstance(name, ast.Constant)}


def test_the_tables_name_every_probe() -> None:
    assert probes() == set(WALLS)
    assert set(WALLS) - set(NONE) == set(table.AS_ITS_USER_MAY)


def test_the_page_says_what_the_tests_see() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    rows = re.findall(r"^\| (.+?) \| (refused|done) \| (refused|done|as its user may) \| ", page, re.MULTILINE)
    assert {name: walls for name, walls, _ in rows} == WALLS
    assert {name: none for name, _, none in rows if none != "as its user may"} == NONE


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cx-"))  # short: sockets live in it
    (folder / "notebooks").mkdir()
    store_generated(Lake(folder / "lake"), "gate", "ETH/USDT", "1h", start=FIRST - 20 * HOUR, bars=40, seed=1)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def kernel_of(stack: Stack) -> psutil.Process | None:
    """The kernel of the only worker, as soon as there is one."""
    found = [process for process in stack.worker_processes() if "cashup.workers.kernel" in process.cmdline()]
    return found[0] if found else None


def attacked(home: Path, sandbox: str, warm: str) -> tuple[dict[str, list[str]], list[dict[str, Any]], str]:
    """What became of the probes; the orders of the sibling afterwards; the hostile worker's log."""
    env = {"CASHUP_SANDBOX": sandbox, "CASHUP_WARM": warm, "CASHUP_CANARY": CANARY, "CASHUP_API_SECRET": CANARY}
    with ExitStack() as stack:
        other = stack.enter_context(socket.create_server(("0.0.0.0", 0)))  # noqa: S104  (127.0.0.2 has to reach it)
        cashup = stack.enter_context(Stack(home, Market(["ETH/USDT"], "1h", START), env=env))
        for name in ("calm", "hostile"):
            cashup.add_account(name, {"USDT": "1000"})
        calm = write_notebook(home / "notebooks" / "calm.ipynb", CONTRACT)
        cashup.deploy("calm", calm, account="calm", capital="1000")
        sibling = until(lambda: kernel_of(cashup))
        until(lambda: cashup.client.deployment("calm")["state"] == "ready")
        resting = resting_order(home)
        order = cashup.client.place_order("calm", resting)["orders"][0]
        (home / "versions").mkdir(exist_ok=True)
        notebook = write_notebook(home / "notebooks" / "hostile.ipynb", HOSTILE)
        facts = facts_of(cashup, sibling.pid, other.getsockname()[1], notebook) | {
            "order": order,
            "forged_order": resting,
        }
        cashup.deploy("hostile", notebook, account="hostile", capital="500", params={"facts": facts})
        until(lambda: cashup.client.deployment("hostile")["state"] in ("ready", "failed"), 120)
        cashup.client.stop("hostile")
        attempt = cashup.wait_until_ended("hostile")
        assert sibling.is_running()
        record = nbformat.read(attempt["output"], as_version=4)
        orders = cashup.client.orders("calm")
    text = "".join(out.text for cell in record.cells for out in cell.get("outputs", ()) if out.output_type == "stream")
    (found,) = re.findall(r"^PROBES (\{.*\})$", text, re.MULTILINE)
    return json.loads(found), orders, (home / "logs" / "hostile.log").read_text()


def facts_of(cashup: Stack, sibling: int, port: int, notebook: Path) -> dict[str, Any]:
    """What a hostile author could find out, given for nothing."""
    maps = Path(f"/proc/{cashup.gateway.pid}/maps").read_text()
    return {
        "home": str(cashup.home),
        "database": str(cashup.home / "postgres" / "data"),
        "notebook": str(notebook),
        "gateway": cashup.url,
        "gateway_pid": cashup.gateway.pid,
        "gateway_address": int(maps.split("-")[0], 16),
        "supervisor_pid": cashup.supervisor.pid,
        "sibling_pid": sibling,
        "temporary": tempfile.gettempdir(),
        "postgres_socket": str(cashup.home / "run" / "postgres" / ".s.PGSQL.5432"),
        "redis_socket": str(cashup.home / "run" / "redis.sock"),
        "other_port": port,
        "canary": CANARY,
    }


def differences(found: dict[str, list[str]], expected: dict[str, str]) -> dict[str, list[str]]:
    return {name: found[name] for name, outcome in expected.items() if found[name][0] != outcome}


def test_a_hostile_notebook_gets_hold_of_nothing(home: Path) -> None:
    if landlock.version() < _WHOLE or not seccomp.available():
        pytest.skip(f"the walls take Linux on x86-64 with Landlock {_WHOLE}; here it is {landlock.version()}")
    found, orders, log = attacked(home, "require", warm="1")
    assert differences(found, WALLS) == {}
    assert "the notebook is shut in\n" in log
    assert [order["state"] for order in orders] == ["open"]  # the sibling's, as it was


def test_without_walls_the_gateway_alone_refuses(home: Path) -> None:
    found, orders, log = attacked(home, "off", warm="0")
    expected = {name: what for name, what in NONE.items() if AS_ROOT or what == REFUSED or name in table.OWN}
    assert differences(found, expected) == {}
    assert "the notebook is shut in, but: it is switched off" in log
    assert [order["state"] for order in orders] == ["open"]
    assert sum(what == DONE for what, _ in found.values()) > 20  # the probes do find something where there is something
