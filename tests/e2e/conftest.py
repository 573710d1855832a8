"""The whole stack for tests: every process real, on generated bars, in a home of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from cashup.cli.stack import Market, Stack
from cashup.clock import parse_time

ROOT = Path(__file__).parents[2]
SMA_CROSS = ROOT / "notebooks" / "sma_cross.ipynb"
OVERVIEW = ROOT / "dashboards" / "overview.ipynb"
HOUR = 3_600_000
START = "2025-01-01"


def run_cashup(
    home: Path, *words: str, timeout: float = 300, text: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """One command of the command line in `home`, run in the project's folder."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "cashup", *words],
        env=os.environ | {"CASHUP_HOME": str(home)} | dict(env or {}),
        cwd=ROOT,
        input=text,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def processes_of(home: Path) -> list[str]:
    """Every process that has `home` in its arguments or its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words, env = process.cmdline(), process.environ()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid != os.getpid() and str(home) in " ".join([*words, env.get("CASHUP_HOME", "")]):
            found.append(f"{process.pid}: {' '.join(words)}")
    return found


@pytest.fixture
def cashup() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs one command of the command line: `cashup(home, "demo", "--json")`."""
    return run_cashup


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home, removed afterwards; no process may be left in it."""
    folder = Path(tempfile.mkdtemp(prefix="cashup-e2e-"))
    yield folder
    left = processes_of(folder)
    shutil.rmtree(folder, ignore_errors=True)
    assert not left, f"left behind: {left}"


@dataclass(frozen=True)
class Trading:
    """A stack in which `demo` trades BTC/USDT, driven bar by bar by the test."""

    stack: Stack
    dashboards: str
    key: str
    secret: str

    def run(self, bars: int) -> None:
        """Let `bars` more bars be traded."""
        traded = self.stack.client.equity("demo")
        first = int(traded[-1]["bar"]) + HOUR if traded else parse_time(START)
        self.stack.drive(["demo"], until=first + (bars - 1) * HOUR)

    def add_user(self, name: str, password: str) -> None:
        """Somebody who may look."""
        done = run_cashup(self.stack.home, "user", "create", name, "--role", "viewer", text=f"{password}\n")
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def trading() -> Iterator[Trading]:
    """One such stack for the whole session, with dashboards, after 40 bars."""
    folder = Path(tempfile.mkdtemp(prefix="cashup-trading-"))
    words = ["--symbol", "BTC/USDT", "--start", "2024-12-29", "--bars", "600"]
    assert run_cashup(folder, "data", "generate", *words).returncode == 0
    try:
        with Stack(folder, Market(["BTC/USDT"], "1h", START)) as stack:
            customer = stack.add_account("demo", {"USDT": "10000"})
            stack.deploy("demo", SMA_CROSS, account="demo", capital="10000")
            made = Trading(stack, stack.open_dashboards(OVERVIEW), customer["key"], customer["secret"])
            made.run(40)
            yield made
        assert not processes_of(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
