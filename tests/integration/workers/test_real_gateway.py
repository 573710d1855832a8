"""Workers on the real gateway, trading on the simulator: deaths at any bar lose nothing."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest

from cashup.cli.stack import Market, Stack
from cashup.client import Row
from cashup.clock import parse_time
from cashup.markets.lake import Lake
from cashup.markets.synthetic import store_generated
from cashup.strategies.notebook import load_strategy

from .conftest import CONTRACT, HOUR, write_notebook

START = "2025-01-01"
BARS = 30


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cashup-worker-"))  # short: sockets live in it
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def kill(stack: Stack, what: str) -> None:
    """kill -9 the worker process or its kernel."""
    (process,) = [p for p in stack.worker_processes() if f"cashup.workers.{what}" in p.cmdline()]
    process.send_signal(signal.SIGKILL)
    process.wait(30)


def events_until(stack: Stack, kind: str, count: int) -> list[Row]:
    """The deployment's events, once there are `count` of this kind: they are handed out a moment after the commit."""
    for _ in range(200):
        events = stack.client.events("deployment:demo")
        if [event["kind"] for event in events].count(kind) >= count:
            break
        threading.Event().wait(0.05)
    return events


@pytest.mark.slow
def test_a_worker_that_dies_twice_decides_every_bar_once(home: Path) -> None:
    first = parse_time(START)
    store_generated(Lake(home / "lake"), "gate", "ETH/USDT", "1h", start=first - 20 * HOUR, bars=BARS + 20, seed=1)
    deaths = {10: "kernel", 20: "process"}
    steps = 0

    def on_step(stack: Stack, state: Mapping[str, Any]) -> None:
        nonlocal steps
        steps += 1
        if steps in deaths:
            kill(stack, deaths[steps])

    with Stack(home, Market(["ETH/USDT"], "1h", START)) as stack:
        stack.add_account("demo", {"USDT": "10000"})
        notebook = write_notebook(home / "sma.ipynb", CONTRACT)
        stack.deploy("demo", notebook, account="demo", capital="10000")
        stack.drive(["demo"], until=first + (BARS - 2) * HOUR, on_step=on_step)
        stack.client.stop("demo")
        attempt = stack.wait_until_ended("demo")
        worth = stack.client.equity("demo")
        events = events_until(stack, "attempt_finished", 3)
        orders = [order for order in stack.client.orders("demo") if order["average_price"] is not None]

    assert [row["bar"] for row in worth] == [first + number * HOUR for number in range(BARS - 1)]
    accepted = [event["data"]["bar"] for event in events if event["kind"] == "intent_accepted"]
    assert accepted == [row["bar"] for row in worth]
    ends = [event["data"] for event in events if event["kind"] == "attempt_finished"]
    assert [(end["attempt"], end["state"]) for end in ends] == [(1, "failed"), (2, "failed"), (3, "finished")]
    assert "the kernel died" in ends[0]["message"]
    assert (attempt["number"], attempt["exit_code"]) == (3, 0)

    record = nbformat.read(attempt["output"], as_version=4)
    assert f"tear sheet {BARS - 1}" in record.cells[-1].outputs[0].text
    assert "Total Return [%]" in record.cells[-1].outputs[-1].data["text/plain"]
    assert orders, "the averages cross in these bars"
    # What ran is what was frozen, and every order says so.
    (frozen,) = (home / "versions").iterdir()
    assert {order["version"] for order in orders} == {frozen.name}


WATCHING = [
    ("parameters", 'symbols = ["ETH/USDT"]\nwatch = ["BTC/USDT"]\ntimeframe = "1h"'),
    (
        "",
        "import cashup as cu\n"
        "@cu.indicator\n"
        "def rising(bars, length):\n"
        '    return bars.watch.close["BTC/USDT"].diff(length) > 0\n'
        "def target(bars):\n"
        '    trend = bars.at("4h").align(bars.at("4h").close.diff())\n'
        "    up = rising(bars, 3).to_numpy()[:, None]\n"
        "    return 0.3 * up + 0.4 * (trend > 0)\n"
        "strategy = cu.Strategy(target, symbols=symbols, watch=watch, timeframe=timeframe, warmup=12)",
    ),
    ("", "run = cu.run(strategy)"),
    ("", "print('tear sheet', len(run.equity))"),
]


@pytest.mark.slow
def test_a_worker_that_watches_another_symbol_decides_as_the_whole_history_does(home: Path) -> None:
    first = parse_time(START)
    lake = Lake(home / "lake")
    for symbol in ("ETH/USDT", "BTC/USDT"):
        store_generated(lake, "gate", symbol, "1h", start=first - 20 * HOUR, bars=BARS + 20, seed=1)
    with Stack(home, Market(["ETH/USDT", "BTC/USDT"], "1h", START)) as stack:
        stack.add_account("demo", {"USDT": "10000"})
        notebook = write_notebook(home / "watching.ipynb", WATCHING)
        stack.deploy("demo", notebook, account="demo", capital="10000")
        stack.drive(["demo"], until=first + (BARS - 2) * HOUR)
        stack.client.stop("demo")
        stack.wait_until_ended("demo")
        bars = [row["bar"] for row in stack.client.equity("demo")]
        events = events_until(stack, "attempt_finished", 1)
        orders = stack.client.orders("demo")

    accepted = {e["data"]["bar"]: e["data"] for e in events if e["kind"] == "intent_accepted"}
    assert list(accepted) == bars
    assert len(bars) == BARS - 1
    strategy = load_strategy(notebook)
    seen = lake.bars("gate", ["ETH/USDT", "BTC/USDT"], "1h").split(["ETH/USDT"])
    targets = strategy.targets(seen)["ETH/USDT"]
    decided = targets[targets.index.as_unit("ms").asi8 >= bars[0]].iloc[: len(bars)]
    changed = decided[decided != decided.shift(fill_value=0.0)].index.as_unit("ms").asi8
    assert len(changed) > 5
    assert sorted({order["bar"] for order in orders}) == changed.tolist()
