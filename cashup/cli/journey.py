"""The demo's way, step by step: every step is the command that a person would type, in a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cashup.cli.stack import Lap, Market, Stack
from cashup.errors import WorkFailed

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from cashup.client import Row
    from cashup.research.reporting.tearsheet import TearSheet
    from cashup.trading.parity import Line, Parity
    from cashup.workers.live_run import LiveRun

SYMBOL, TIMEFRAME, EXCHANGE, CAPITAL = "BTC/USDT", "1h", "gate", "10000"
START = "2025-01-01"
HISTORY = 100
"""Bars before the start, for the warm-up."""


class Progress(Protocol):
    """Where the journey says how far it is."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """A step begins, and has ended after the block."""
        ...

    def bars(self, done: int, total: int, per_second: float) -> None:
        """The market has run this far."""
        ...


@dataclass(slots=True)
class Report:
    """What came of it. The three runs in the order backtest, replay with the venue's rounding, live."""

    backtest: dict[str, Any] = field(default_factory=dict)
    checks: dict[str, Any] = field(default_factory=dict)
    replay: dict[str, Any] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    artefacts: dict[str, str] = field(default_factory=dict)
    capital: float = float(CAPITAL)

    @property
    def equal(self) -> bool:
        """True when live made what the replay promised, and the replay what the backtest promised."""
        return bool(self.parity["live"]["equal"] and self.parity["backtest"]["equal"])

    @property
    def orders(self) -> tuple[int, int, int]:
        """How many orders each run executed."""
        return self.replay["backtest"]["orders"], self.replay["venue"]["orders"], self.live["orders"]

    @property
    def equities(self) -> tuple[float, float, float]:
        """The final equity of each run, in quote currency."""
        return (
            float(self.backtest["final_equity"]),
            float(self.replay["venue"]["exact_final_equity"]),
            float(self.live["final_equity"]),
        )

    def sentences(self) -> list[str]:
        """The outcome for people."""
        live, parity = self.live, self.parity
        agree = "make the same orders" if parity["backtest"]["equal"] else "DIFFER"
        made = "exactly the orders of the replay" if parity["live"]["equal"] else "OTHER ORDERS than the replay"
        cost = float(self.replay["rounding"]["cost"])
        return [
            f"Backtest and replay {agree}: two engines, one result.",
            f"The worker made {made}: same bar, side, quantity and price, and the same balance at the venue.",
            f"The venue's lots and minimums cost {cost:.2f}: that is what the backtest does not know.",
            f"{live['bars']} bars went through the whole stack at {live['bars_per_second']:.0f} bars/s.",
        ]

    def to_json(self) -> dict[str, Any]:
        """One document: `backtest checks replay live parity artefacts`."""
        names = ("backtest", "checks", "replay", "live", "parity", "artefacts")
        return {"equal": self.equal} | {name: getattr(self, name) for name in names}


class Journey:
    """One demo in the folder `home`."""

    def __init__(self, home: Path, notebook: Path, bars: int, progress: Progress) -> None:
        self.home = home
        self.notebook = notebook
        self.bars = bars
        self.progress = progress
        self.report = Report()
        self._orders: list[Row] = []
        self._fills: list[Row] = []
        self._worth: list[Row] = []

    def run(self) -> Report:
        """Go all the way; raises WorkFailed where it ends early."""
        from cashup.settings import Settings
        from cashup.storage.servers import open_servers

        # Held from end to end, so that each command finds the embedded servers running.
        servers = open_servers(Settings(home=self.home, database_url=None, redis_url=None))
        try:
            for name in ("bars", "backtest", "checks", "replay", "live", "parity"):
                with self.progress.step(name):
                    getattr(self, f"_{name}")()
        finally:
            servers.close()
        return self.report

    def _command(self, *words: str) -> dict[str, Any]:
        """A command of ours with `--json`, in the demo's home."""
        env = {
            name: value for name, value in os.environ.items() if not name.startswith("CASHUP_") or name == "CASHUP_WARM"
        }
        command = [sys.executable, "-P", "-m", "cashup", *words, "--json"]
        done = subprocess.run(
            command, env=env | {"CASHUP_HOME": str(self.home)}, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or ["no word"]
            raise WorkFailed(f"`cashup {' '.join(words[:2])}` failed: {said[-1]}")
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def _bars(self) -> None:
        from cashup.clock import isoformat, parse_time, timeframe_millis

        first = isoformat(parse_time(START) - HISTORY * timeframe_millis(TIMEFRAME))
        words = ["--symbol", SYMBOL, "--timeframe", TIMEFRAME, "--exchange", EXCHANGE]
        self._command("data", "generate", *words, "--start", first, "--bars", str(self.bars + HISTORY))

    def _backtest(self) -> None:
        self.report.backtest = self._command("backtest", str(self.notebook), *self._terms())
        self.report.artefacts["backtest_notebook"] = self.report.backtest["output"]

    def _checks(self) -> None:
        sound = self._command("data", "check")["sound"]
        words = ["--start", START, "--exchange", EXCHANGE]
        verdicts = {one["name"]: one["verdict"] for one in self._command("check", str(self.notebook), *words)["checks"]}
        self.report.checks = {"data_sound": sound} | verdicts
        if not sound:
            raise WorkFailed("the made-up bars are not sound; run `cashup data check` to see why")

    def _replay(self) -> None:
        self.report.replay = self._command("replay", str(self.notebook), *self._terms())
        self.report.artefacts["replay"] = self.report.replay["output"]

    def _terms(self) -> list[str]:
        return ["--start", START, "--exchange", EXCHANGE, "--capital", CAPITAL]

    def _live(self) -> None:
        from cashup.clock import parse_time, timeframe_millis

        bar = timeframe_millis(TIMEFRAME)
        last = parse_time(START) + (self.bars - 1) * bar
        env = dict.fromkeys(("CASHUP_DATABASE_URL", "CASHUP_REDIS_URL", "CASHUP_LAKE"), "")
        with Stack(self.home, Market([SYMBOL], TIMEFRAME, START, exchange=EXCHANGE), env=env) as stack:
            stack.add_account("demo", {"USDT": CAPITAL})
            stack.deploy("demo", self.notebook, account="demo", capital=CAPITAL)
            # The decision of the last bar has no next open: the bar before it is the last one that is executed.
            lap = stack.drive(["demo"], until=last - bar, on_step=self._step)
            stack.client.stop("demo")
            attempt = stack.wait_until_ended("demo")
            self._take(stack, lap, attempt)

    def _step(self, stack: Stack, state: Mapping[str, Any]) -> None:
        lap = stack.lap
        self.progress.bars(lap.steps, self.bars - 1, lap.bars_per_second)

    def _take(self, stack: Stack, lap: Lap, attempt: Mapping[str, Any]) -> None:
        """Everything the report says of the live run, while the gateway can still be asked."""
        client = stack.client
        self._orders = [order for order in client.orders("demo") if order["average_price"] is not None]
        self._fills, self._worth = client.fills("demo"), client.equity("demo")
        account = stack.book()["accounts"]["demo"]
        balances = {
            name: str(Decimal(b["available"]) + Decimal(b["locked"])) for name, b in account["balances"].items()
        }
        attempt = client.deployment("demo")["attempt"]
        self.report.live = {
            "bars": lap.steps,
            "bars_per_second": round(lap.bars_per_second, 1),
            "seconds": round(lap.seconds, 2),
            "orders": len(self._orders),
            "final_equity": str(self._final_equity(balances)),
            "balances": {name: amount for name, amount in balances.items() if Decimal(amount)},
            "output": attempt["output"],
        }
        self.report.artefacts["live_notebook"] = self.report.live["output"]

    def _final_equity(self, balances: Mapping[str, str]) -> Decimal:
        """Cash and coins at the close of the last bar, as the replay counts them."""
        from cashup.markets.lake import Lake

        close = Lake(self.home / "lake").read(EXCHANGE, SYMBOL, TIMEFRAME)["close"].iloc[-1]
        base, quote = SYMBOL.split("/")
        return Decimal(balances.get(quote, "0")) + Decimal(balances.get(base, "0")) * Decimal(repr(float(close)))

    def _parity(self) -> None:
        from cashup.trading.parity import Record, compare

        promised = json.loads(Path(self.report.replay["output"]).read_text())
        venue = self.report.replay["venue"]
        replayed = Record(
            "replay", [_line(row) for row in promised["order_lines"]["venue"]], Decimal(venue["exact_final_equity"])
        )
        traded = Record("live", [_live_line(row) for row in self._orders], Decimal(self.report.live["final_equity"]))
        found = compare(replayed, traded)
        self.report.parity = {"backtest": self.report.replay["parity"], "live": found.to_json()}
        self._write(found)

    def _write(self, found: Parity) -> None:
        """The parity report as text and the tear sheet as HTML."""
        text = self.home / "parity.txt"
        text.write_text(found.report() + "\n")
        self.report.artefacts["parity_report"] = str(text)
        self.report.artefacts["tear_sheet"] = str(self._tear_sheet().save(self.home / "tear-sheet.html"))

    def _tear_sheet(self) -> TearSheet:
        made = {name: str(self.report.backtest[name]) for name in ("notebook_hash", "data_version", "run_id")}
        title = f"{self.notebook.stem}, live on a simulated Gate.io"
        return self._live_run().tear_sheet(title=title, notes=self.report.sentences(), facts=made)

    def _live_run(self) -> LiveRun:
        import numpy as np
        import pandas as pd

        from cashup.clock import timeframe_millis
        from cashup.markets.lake import Lake
        from cashup.strategies.bars import to_index
        from cashup.workers.live_run import LiveRun, executed

        times = np.array([row["bar"] for row in self._worth], dtype=np.int64)
        equity = pd.Series([float(row["equity"]) for row in self._worth], index=to_index(times), name="equity")
        close = Lake(self.home / "lake").read(EXCHANGE, SYMBOL, TIMEFRAME)[["close"]].loc[equity.index]
        return LiveRun(
            equity=equity,
            orders=executed(self._orders, self._fills, timeframe_millis(TIMEFRAME)),
            close=close.rename(columns={"close": SYMBOL}),
            timeframe=TIMEFRAME,
            capital=float(CAPITAL),
        )


def _line(row: Mapping[str, Any]) -> Line:
    from cashup.trading.parity import Line
    from cashup.types import Side, Symbol

    return Line(
        int(row["bar"]), Symbol(row["symbol"]), Side(row["side"]), Decimal(row["quantity"]), Decimal(row["price"])
    )


def _live_line(row: Mapping[str, Any]) -> Line:
    names = {"quantity": row["filled"], "price": row["average_price"]}
    return _line({**row, **names})
