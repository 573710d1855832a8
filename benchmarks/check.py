"""What `cashup check` costs on a year of hourly bars, in full, quick, and as the glance beside a backtest."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from benchmarks.measure import ROOT, cashup, home, run, spread

NOTEBOOKS = ("sma_cross", "momentum_rotation")
HOURS = 8_760
START = "2025-01-01"

GLANCE = """
import json, time
from cashup.clock import parse_time
from cashup.markets.synthetic import generate
from cashup.research.backtest import backtest
from cashup.research.checks.glance import glance
from cashup.research.spec import RunSpec
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy

bars = Bars.join({"BTC/USDT": generate("BTC/USDT", "1m", parse_time("2025-01-01"), 525_600, 1)}, "1m")

def target(bars):
    return (bars.close.rolling(10).mean() > bars.close.rolling(30).mean()).astype(float)

strategy = Strategy(target, symbols=["BTC/USDT"], timeframe="1m", warmup=30)
found = {"backtest": [], "glance": []}
for _ in range(12):
    begin = time.perf_counter()
    backtest(strategy, bars, RunSpec())
    found["backtest"].append(time.perf_counter() - begin)
    begin = time.perf_counter()
    assert glance(strategy, bars, 1.0) is None
    found["glance"].append(time.perf_counter() - begin)
print(json.dumps({name: seconds[2:] for name, seconds in found.items()}))
"""


def check() -> dict[str, Any]:
    """`cashup check` as a process on a year of hourly bars, in full and quick; the glance on a year of minutes."""
    found: dict[str, Any] = {}
    with home() as folder:
        for symbol in ("BTC/USDT", "ETH/USDT", "XRP/USDT"):
            words = ["--symbol", symbol, "--timeframe", "1h", "--start", START, "--bars", str(HOURS)]
            run(cashup("data", "generate", *words), folder)
        for name in NOTEBOOKS:
            path = str(ROOT / "notebooks" / f"{name}.ipynb")
            found[name] = {
                "full": spread([_seconds([path], folder) for _ in range(3)]),
                "quick": spread([_seconds([path, "--quick"], folder) for _ in range(3)]),
                "checks": _checks(path, folder),
            }
    took = json.loads(run([sys.executable, "-c", GLANCE]).stdout)
    return found | {"minutes": {name: spread(seconds, 4) for name, seconds in took.items()}}


def _seconds(words: list[str], folder: Any) -> float:
    begin = time.perf_counter()
    run(cashup("check", *words, "--json"), folder)
    return time.perf_counter() - begin


def _checks(path: str, folder: Any) -> dict[str, float]:
    document = json.loads(run(cashup("check", path, "--json"), folder).stdout)
    return {one["name"]: one["seconds"] for one in document["checks"]}
