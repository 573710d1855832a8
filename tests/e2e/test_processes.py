"""`cashup up`, `lab` and `doctor` as a person uses them, and the one sentence when they cannot start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cashup.cli.ports import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ports() -> dict[str, str]:
    names = ("CASHUP_PORT", "CASHUP_DASHBOARD_PORT", "CASHUP_LAB_PORT", "CASHUP_SIMULATOR_PORT")
    return {name: str(free_port()) for name in names}


@pytest.fixture
def up(home: Path, ports: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """`cashup up --json`, just started."""
    words = [sys.executable, "-P", "-m", "cashup", "up", "--json"]
    env = os.environ | ports | {"CASHUP_HOME": str(home)}
    process = subprocess.Popen(words, env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield process
    process.kill()
    process.communicate()


def test_up_serves_everything_and_ends_all_of_it(up: subprocess.Popen[str]) -> None:
    assert up.stdout is not None
    places = json.loads(up.stdout.readline())
    children = psutil.Process(up.pid).children(recursive=True)
    assert httpx.get(f"{places['gateway']}/health").status_code == 200
    assert httpx.get(places["docs"]).status_code == 200
    assert httpx.get(places["dashboards"]).status_code == 302
    assert httpx.get(places["lab"], follow_redirects=True).status_code == 200
    assert "token" not in httpx.get(places["lab"].partition("?")[0], follow_redirects=False).text
    admin = places["first_admin"]
    login = httpx.post(f"{places['gateway']}/api/v1/auth/login", json=admin)
    assert login.status_code == 200
    # What ran for a moment only, such as a probe of a server, has ended by now.
    names = [" ".join(child.cmdline()) for child in children if child.is_running()]
    assert any("live up" in name for name in names), "no supervisor"
    up.send_signal(signal.SIGINT)
    assert up.wait(90) == 0
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_a_part_that_dies_ends_the_rest_with_its_name(up: subprocess.Popen[str]) -> None:
    assert up.stdout is not None
    up.stdout.readline()
    parent = psutil.Process(up.pid)
    gateway = next(child for child in parent.children() if "gateway" in child.cmdline())
    gateway.kill()
    assert up.wait(90) == 1
    assert up.stderr is not None
    assert "gateway ended with exit code -9" in up.stderr.read()


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("CASHUP_PORT", ["up"]),
        ("CASHUP_DASHBOARD_PORT", ["up"]),
        ("CASHUP_LAB_PORT", ["lab"]),
        ("CASHUP_DASHBOARD_PORT", ["dashboards"]),
    ],
)
def test_a_taken_port_is_one_sentence(home: Path, cashup: Command, variable: str, words: list[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = str(taken.getsockname()[1])
        done = cashup(home, *words, env={variable: number})
    assert done.returncode == 1
    assert number in done.stderr
    assert variable in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_doctor_finds_a_healthy_machine(home: Path, cashup: Command, ports: dict[str, str]) -> None:
    done = cashup(home, "doctor", "--json", env=ports)
    report = json.loads(done.stdout)
    assert report["ok"], [check for check in report["checks"] if not check["ok"]]
    assert done.returncode == 0
    assert {"python", "disk", "keys", "postgresql", "clock", "durability", "schema", "redis"} <= _names(report)


def test_the_doctor_names_what_is_wrong(home: Path, cashup: Command, ports: dict[str, str]) -> None:
    keys = home / "keys"
    keys.mkdir(mode=0o700)
    (keys / "jwt.pem").touch(mode=0o600)
    (keys / "jwt.pem").chmod(0o644)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = cashup(home, "doctor", "--json", env=ports | {"CASHUP_LAB_PORT": str(taken.getsockname()[1])})
    report = json.loads(done.stdout)
    assert done.returncode == 1
    wrong = {check["check"]: check["advice"] for check in report["checks"] if not check["ok"]}
    assert set(wrong) == {"key jwt.pem", "port lab"}
    assert wrong["key jwt.pem"] == f"chmod 600 {keys / 'jwt.pem'}"
    assert "CASHUP_LAB_PORT" in wrong["port lab"]


def _names(report: dict[str, Any]) -> set[str]:
    return {check["check"] for check in report["checks"]}
