"""A strategy with a state whose worker and kernel are killed at random bars trades as the one that never died."""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from cashup.cli.stack import Market, Stack
from cashup.client import Row
from cashup.clock import parse_time
from cashup.markets.lake import Lake
from cashup.markets.synthetic import store_generated
from cashup.workers.deployment import DeploymentFile, freeze_spec
from tests.faults.scale import times
from tests.integration.workers.conftest import HOUR, write_notebook

pytestmark = pytest.mark.faults

START = "2025-01-01"
FIRST = parse_time(START)
BARS = 60
EVERY = 5
"""One death in so many bars, about."""

NOTEBOOK = [
    ("parameters", 'symbols = ["ETH/USDT"]\ntimeframe = "1h"'),
    (
        "",
        "import json\n"
        "import cashup as cu\n"
        "def target(bars):\n"
        "    state, close = strategy.state, float(bars.close.iloc[-1, 0])\n"
        '    state["bars"] += 1\n'
        '    state["mean"] += (close - state["mean"]) / state["bars"]\n'
        '    state["closes"] = [*state["closes"], close][-3:]\n'
        '    above = close > state["mean"]\n'
        '    if above != state["above"]:\n'
        '        state.update(above=above, turned=state["bars"])\n'
        '    return bars.close * 0 + (0.1 + 0.1 * ((state["bars"] - state["turned"]) % 7 + above))\n'
        "strategy = cu.Strategy(target, symbols=symbols, timeframe=timeframe, warmup=3,\n"
        '    state={"bars": 0, "mean": 0.0, "closes": [], "above": False, "turned": 0})',
    ),
    ("", "run = cu.run(strategy)"),
    ("", "print(json.dumps(strategy.state))"),
]


@dataclass
class Outcome:
    """What came of a run: the target of every bar, every order that was filled, and the state at the end."""

    targets: dict[int, Any] = field(default_factory=dict)
    orders: list[tuple[Any, ...]] = field(default_factory=list)
    state: str = ""
    attempts: int = 0
    deaths: list[str] = field(default_factory=list)


class Killer:
    """Kills the worker's process or its kernel at random bars, a random moment after the bar closed."""

    def __init__(self, chance: random.Random | None) -> None:
        self._chance = chance
        self._steps = 0
        self._next = 3
        self._found: dict[str, psutil.Process] = {}
        self.timers: list[threading.Timer] = []
        self.killed: list[str] = []

    def __call__(self, stack: Stack, state: Mapping[str, Any]) -> None:
        self._steps += 1
        if self._chance is None or self._steps > BARS - 10:  # the last attempt is to end by itself
            return
        if self._steps == self._next - 1:
            self._found = {kind: process for process in stack.worker_processes() if (kind := _kind(process))}
        elif self._steps == self._next and self._found:
            what = self._chance.choice(sorted(self._found))
            pause = self._chance.choice([0.0, self._chance.uniform(0, 0.02), self._chance.uniform(0, 0.2)])
            self.timers.append(threading.Timer(pause, _kill, [self._found[what]]))
            self.timers[-1].start()
            self.killed.append(f"{what} {pause * 1000:.0f} ms after bar {self._steps}")
        if self._steps >= self._next:
            self._next = self._steps + 1 + self._chance.randint(1, 2 * EVERY - 1)


def _kind(process: psutil.Process) -> str | None:
    try:
        words = process.cmdline()
    except psutil.NoSuchProcess:
        return None
    return next((kind for kind in ("kernel", "process") if f"cashup.workers.{kind}" in words), None)


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGKILL)


def trade(home: Path, chance: random.Random | None) -> Outcome:
    """Run the notebook over the market, with deaths when there is `chance`."""
    store_generated(Lake(home / "lake"), "gate", "ETH/USDT", "1h", start=FIRST - 20 * HOUR, bars=BARS + 20, seed=3)
    killer = Killer(chance)
    with Stack(home, Market(["ETH/USDT"], "1h", START)) as stack:
        stack.add_account("demo", {"USDT": "10000"})
        deploy(stack, write_notebook(home / "kept.ipynb", NOTEBOOK))
        stack.drive(["demo"], until=FIRST + (BARS - 2) * HOUR, on_step=killer)
        for timer in killer.timers:
            timer.join()
        stack.client.stop("demo")
        attempt = stack.wait_until_ended("demo")
        events: list[Row] = []
        for _ in range(200):
            events = stack.client.events("deployment:demo")
            if [event["kind"] for event in events].count("bar_processed") >= BARS - 1:
                break
            threading.Event().wait(0.05)
        orders = stack.client.orders("demo")
    record = nbformat.read(attempt["output"], as_version=4)
    accepted = [event["data"] for event in events if event["kind"] == "intent_accepted"]
    assert len({row["bar"] for row in accepted}) == len(accepted), "a bar was decided twice"
    names = ("bar", "symbol", "side", "quantity", "cost", "filled", "average_price", "state")
    return Outcome(
        {row["bar"]: row["targets"] for row in accepted},
        [tuple(order[name] for name in names) for order in sorted(orders, key=lambda order: order["created_at"])],
        record.cells[-1].outputs[0].text,
        attempt["number"],
        killer.killed,
    )


def deploy(stack: Stack, notebook: Path) -> None:
    """As `Stack.deploy`, and a worker that died is started again at once, however often."""
    restarts = {"limit": 1000, "pause": 0.05, "longest": 0.05}
    words = {"notebook": str(notebook), "account": "demo", "capital": "10000", "restarts": restarts}
    spec = DeploymentFile.model_validate(words).to_spec(Path("/"), "demo", stack.home / "versions")
    freeze_spec(spec, stack.home / "versions")
    stack.client.put_deployment("demo", spec)
    stack.client.start("demo")
    stack.supervise()


def test_deaths_at_random_bars_change_no_target_no_state_and_no_order() -> None:
    def run(seed: int | None) -> Outcome:
        folder = Path(tempfile.mkdtemp(prefix="cx-"))
        try:
            return trade(folder, None if seed is None else random.Random(seed))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    expected = run(None)
    assert (len(expected.targets), expected.attempts) == (BARS - 1, 1)
    assert len(expected.orders) > 20
    for seed in range(times(2)):
        found = run(seed)
        assert found.attempts > 5, found.deaths
        assert found.targets == expected.targets, found.deaths
        assert found.orders == expected.orders, found.deaths
        assert found.state == expected.state, found.deaths
