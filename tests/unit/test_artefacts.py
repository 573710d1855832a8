"""A run read back from what it left on disk, with its bars from the lake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import cashup as cu
from cashup.markets.lake import Lake
from cashup.markets.synthetic import generate
from cashup.research.backtest import backtest
from cashup.research.history import load_bars
from cashup.research.recording.artefacts import RESULT, read_result, store
from cashup.research.result import Result
from cashup.research.spec import RunSpec
from cashup.strategies.registry import Run

HOUR, START = 3_600_000, 1_735_689_600_000  # 2025-01-01
SPEC = RunSpec(exchange="gate", run_id="r-1")


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Ten days of three symbols, of which XRP was listed late and then missed a day."""
    monkeypatch.setenv("CASHUP_HOME", str(tmp_path))
    lake = Lake(tmp_path / "lake")
    for symbol in ("BTC/USDT", "ETH/USDT"):
        lake.write("gate", symbol, "1h", generate(symbol, "1h", START, 240, seed=1))
    late = generate("XRP/USDT", "1h", START + 72 * HOUR, 168, seed=1)
    lake.write("gate", "XRP/USDT", "1h", pd.concat([late.iloc[:120], late.iloc[144:]]))
    return lake


def rising(bars: cu.Bars) -> pd.DataFrame:
    return (bars.close.diff(5) > 0).astype(float) / 2


def left_behind(strategy: cu.Strategy, lake: Lake, folder: Path) -> tuple[Result, Run]:
    """A backtest, and the run as the registry knows it."""
    made = backtest(strategy, load_bars(lake, strategy, SPEC), SPEC)
    folder.mkdir()
    store(folder, made)
    (folder / RESULT).write_text(json.dumps(made.to_json()))
    about: dict[str, Any] = {"notebook": "s.ipynb", "notebook_hash": "", "lock_hash": "", "seed": None, "created": 0}
    spec = {"exchange": "gate", "capital": SPEC.capital}
    return made, Run(
        id="r-1", kind="backtest", params={}, spec=spec, data_version=made.data_version, metrics={},
        output=str(folder / "s.ipynb"), **about,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {"symbols": ["BTC/USDT", "XRP/USDT"], "universe": cu.Universe(top=1, over="1d", listed="1d", every="1d")},
        {"symbols": ["BTC/USDT"], "watch": ["XRP/USDT"]},
    ],
    ids=["universe", "watch"],
)
def test_a_run_comes_back_with_the_bars_it_had(lake: Lake, tmp_path: Path, options: dict[str, Any]) -> None:
    strategy = cu.Strategy(rising, timeframe="1h", warmup=72, **options)
    made, run = left_behind(strategy, lake, tmp_path / "run")
    lake.write("gate", "BTC/USDT", "1h", generate("BTC/USDT", "1h", START, 300, seed=2))
    read = read_result(run, lake)
    assert read.close.equals(made.close)
    assert len(read.close) == len(read.equity)
    assert read.close.notna().all().all()
    pd.testing.assert_series_equal(read.stats(), made.stats()[read.stats().index])
    assert read.bars is not None
    assert read.bars.high.equals(made.bars.high)
    assert read.save(tmp_path / "sheet.html")
