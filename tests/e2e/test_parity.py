"""The whole stack in lockstep makes what the replay promises, also when parts of it are killed on the way.

simulator -> ccxt -> gateway -> worker kernel -> gateway -> ccxt -> simulator, every part a process of its own.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cashup.cli.stack import Market, Stack
from cashup.clock import parse_time
from cashup.markets.importer import import_file
from cashup.markets.lake import Lake
from cashup.markets.synthetic import store_generated
from cashup.research.replay import Replay, replay_report
from cashup.research.spec import RunSpec
from cashup.strategies.notebook import load_strategy
from cashup.trading.parity import Line
from cashup.types import Side, Symbol

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data"
HOUR = 3_600_000
CAPITAL = "10000"
FILES = {"ETH/USDT": "ETHUSDT_1h.csv", "XRP/USDT": "XRPUSDT_1h.csv", "BTC/USDT": "BTC_USDT_1h.csv"}

real = pytest.mark.skipif(not REAL.is_dir(), reason="the real bars in ../shared/data are not there")


@dataclass
class Killer:
    """kill -9 of the worker and of the gateway, each once, at its bar."""

    worker_at: int = -1
    gateway_at: int = -1
    killed: list[str] = field(default_factory=list)

    def __call__(self, stack: Stack, state: Mapping[str, Any]) -> None:
        if stack.lap.steps == self.worker_at and stack.crash_worker():
            self.killed.append("worker")
        if stack.lap.steps == self.gateway_at:
            stack.crash_gateway()
            self.killed.append("gateway")


@dataclass(frozen=True)
class Traded:
    """What the venue and the gateway hold after a drive."""

    lines: list[Line]
    balances: dict[str, Decimal]
    venue_orders: list[Mapping[str, Any]]
    bars_per_second: float


@dataclass(frozen=True)
class Job:
    """A notebook with parameters over [start, end)."""

    notebook: str
    params: Mapping[str, Any]
    start: str
    end: str

    @property
    def path(self) -> Path:
        """The notebook's file."""
        return ROOT / "notebooks" / f"{self.notebook}.ipynb"

    @property
    def symbols(self) -> Sequence[str]:
        """What it trades."""
        symbols: list[str] = self.params["symbols"]
        return symbols


def trade(home: Path, job: Job, killer: Killer) -> Traded:
    """Run the job on the whole stack."""
    last = parse_time(job.end) - HOUR
    with Stack(home, Market(job.symbols, "1h", job.start)) as stack:
        stack.add_account("demo", {"USDT": CAPITAL})
        stack.deploy("demo", job.path, account="demo", capital=CAPITAL, params=job.params)
        lap = stack.drive(["demo"], until=last - HOUR, on_step=killer)
        stack.client.stop("demo")
        stack.wait_until_ended("demo")
        orders = [row for row in stack.client.orders("demo") if row["average_price"] is not None]
        account = stack.book()["accounts"]["demo"]
    amounts = {asset: Decimal(b["available"]) + Decimal(b["locked"]) for asset, b in account["balances"].items()}
    return Traded(
        lines=[line(row) for row in orders],
        balances={asset: amount for asset, amount in amounts.items() if amount},
        venue_orders=account["orders"],
        bars_per_second=lap.bars_per_second,
    )


def line(row: Mapping[str, Any]) -> Line:
    """An order of the API as a line of a comparison."""
    filled, price = Decimal(row["filled"]), Decimal(row["average_price"])
    return Line(int(row["bar"]), Symbol(row["symbol"]), Side(row["side"]), filled, price)


def lines(replayed: Replay) -> list[Line]:
    """The orders of a replay as lines of a comparison."""
    made = []
    for placed in replayed.exact.orders:
        order = placed.order
        assert order.average_price is not None
        made.append(Line(placed.bar, order.symbol, order.side, order.filled, order.average_price))
    return made


def same_in_any_order(left: list[Line], right: list[Line]) -> None:
    """Two symbols of one bar may be listed either way round; everything else must be equal."""
    key = lambda one: (one.bar, one.symbol, one.side)  # noqa: E731
    assert sorted(left, key=key) == sorted(right, key=key)


def check_promise(home: Path, job: Job, killer: Killer) -> Traded:
    """Backtest, replay and the full stack on the same bars, and nothing but equal results."""
    strategy = load_strategy(job.path, job.params)
    spec = RunSpec(start=job.start, end=job.end, capital=float(CAPITAL), fee=0.001)
    promised = replay_report(strategy, Lake(home / "lake"), spec)
    assert promised.parity.equal, promised.parity.report()
    traded = trade(home, job, killer)
    assert len(traded.lines) > 10
    same_in_any_order(lines(promised.venue), traded.lines)
    assert traded.balances == {asset: held for asset, held in promised.venue.exact.balances.items() if held}
    assert len(traded.venue_orders) == len(traded.lines), "the venue holds an order that the gateway does not explain"
    assert len({order["text"] for order in traded.venue_orders}) == len(traded.venue_orders)
    return traded


QUICK = [
    Job("sma_cross", {"symbols": ["ETH/USDT"], "fast": 3, "slow": 8}, "2025-01-01", "2025-01-09"),
    Job("momentum_rotation", {"symbols": list(FILES), "lookback": 24}, "2025-01-01", "2025-01-13"),
]

YEARS = [
    Job("sma_cross", {"symbols": ["ETH/USDT"], "fast": 10, "slow": 30}, "2025-01-01", "2026-01-01"),
    Job("momentum_rotation", {"symbols": list(FILES)}, "2025-01-01", "2026-01-01"),
]


@pytest.mark.parametrize("job", QUICK, ids=lambda job: job.notebook)
def test_killed_parts_change_nothing(home: Path, job: Job) -> None:
    for number, symbol in enumerate(job.symbols):
        store_generated(
            Lake(home / "lake"), "gate", symbol, "1h", start=parse_time("2024-12-01"), bars=1_200, seed=number
        )
    killer = Killer(worker_at=random.randrange(1, 180), gateway_at=random.randrange(1, 180))
    print(killer)
    check_promise(home, job, killer)
    assert sorted(killer.killed) == ["gateway", "worker"]


@real
@pytest.mark.real
@pytest.mark.parametrize("job", YEARS, ids=lambda job: job.notebook)
def test_killed_parts_change_nothing_in_a_real_year(home: Path, job: Job) -> None:
    for symbol in job.symbols:
        import_file(Lake(home / "lake"), REAL / FILES[symbol], exchange="gate", symbol=symbol, timeframe="1h")
    killer = Killer(worker_at=random.randrange(1, 8_700), gateway_at=random.randrange(1, 8_700))
    print(killer)
    traded = check_promise(home, job, killer)
    assert sorted(killer.killed) == ["gateway", "worker"]
    print(f"{traded.bars_per_second:.1f} bars/s")
