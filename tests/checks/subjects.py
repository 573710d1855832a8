"""Notebooks of a few lines, with bars to check them on."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from cashup.clock import parse_time
from cashup.markets.synthetic import generate
from cashup.research.checks.subject import Subject
from cashup.strategies.bars import Bars
from cashup.strategies.notebook import load_strategy

LENGTH = 3_000
PARAMETERS = 'symbols = ["BTC/USDT"]\ntimeframe = "1h"\nn = 12\nwarmup = 40\n'
END = """
import cashup as cu
strategy = cu.Strategy(target, symbols=symbols, timeframe=timeframe, warmup=warmup, params={"n": n})
run = cu.run(strategy)
"""


@cache
def hours(length: int = LENGTH) -> Bars:
    frame = generate("BTC/USDT", "1h", parse_time("2025-01-01"), length, seed=3)
    return Bars.join({"BTC/USDT": frame}, "1h")


def notebook(folder: Path, source: str, *, parameters: str = PARAMETERS, end: str = END, **extra: Any) -> Path:
    """A notebook of `source` between a parameters cell and `cu.run`, beside prices that reach to the end."""
    bars = hours()
    bars.close.set_axis(["close"], axis=1).to_csv(folder / "prices.csv")
    cells = [
        {"cell_type": "code", "source": text, "metadata": {"tags": tags}, "outputs": [], "execution_count": None}
        for text, tags in ((parameters, ["parameters"]), (source, []), (end, []))
    ]
    path = folder / "strategy.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | extra))
    return path


def subject(path: Path, bars: Bars | None = None) -> Subject:
    return Subject(load_strategy(path), bars or hours(), path)
