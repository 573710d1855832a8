"""The project's notebooks, replayed beside their backtests: on generated bars, and on the real ones where they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cashup.markets.importer import import_file
from cashup.markets.lake import Lake
from cashup.research.replay import ReplayReport, replay_report
from cashup.research.spec import RunSpec
from cashup.strategies.bars import to_index
from cashup.strategies.notebook import load_strategy
from cashup.strategies.strategy import Strategy

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data"
FILES = {"ETH/USDT": "ETHUSDT_1h.csv", "XRP/USDT": "XRPUSDT_1h.csv", "BTC/USDT": "BTC_USDT_1h.csv"}
PRICES = {"ETH/USDT": (3000.0, 2), "XRP/USDT": (2.5, 4), "BTC/USDT": (100_000.0, 1)}


def a_walk(price: float, decimals: int, count: int, seed: int) -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(chance.normal(0, 0.008, count)))
    opened = np.concatenate([[price], close[:-1]])
    high, low = np.maximum(opened, close) * 1.003, np.minimum(opened, close) * 0.997
    rounded = {n: np.round(v, decimals) for n, v in {"open": opened, "high": high, "low": low, "close": close}.items()}
    return pd.DataFrame(rounded | {"volume": 1.0}, index=to_index(np.arange(count, dtype=np.int64) * 3_600_000))


@pytest.fixture
def made_up(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake")
    for seed, (symbol, (price, decimals)) in enumerate(PRICES.items()):
        lake.write("gate", symbol, "1h", a_walk(price, decimals, 700, seed))
    return lake


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    if not REAL.is_dir():
        pytest.skip("the real bars are not here (../shared/data)")
    lake = Lake(tmp_path_factory.mktemp("real") / "lake")
    for symbol, name in FILES.items():
        import_file(lake, REAL / name, "gate", symbol, "1h")
    return lake


def notebook(name: str, **params: object) -> Strategy:
    return load_strategy(ROOT / "notebooks" / f"{name}.ipynb", params)


def agrees(report: ReplayReport, orders: int = 20) -> None:
    assert report.parity.equal, report.report()
    assert report.parity.matched == len(report.backtest.orders) > orders
    np.testing.assert_allclose(report.ideal.equity, report.backtest.equity, rtol=1e-9)
    assert report.ideal.equity.index.equals(report.backtest.equity.index)
    replayed, tested = report.ideal.metrics(), report.backtest.metrics()
    assert {name: pytest.approx(value, rel=1e-6) for name, value in tested.items()} == replayed
    venue = report.venue.exact
    assert len(venue.orders) == len(report.ideal.exact.orders)
    assert abs(report.rounding_cost_ratio) < 0.01
    assert report.venue.equity.iloc[-1] == pytest.approx(float(venue.final_equity), rel=1e-12)


def test_one_symbol(made_up: Lake):
    report = replay_report(notebook("sma_cross", symbols=["ETH/USDT"]), made_up, RunSpec())
    agrees(report)
    assert json.loads(json.dumps(report.to_json()))["parity"]["equal"] is True


def test_several_symbols_share_cash(made_up: Lake):
    strategy = notebook("momentum_rotation", symbols=list(FILES), lookback=30)
    agrees(replay_report(strategy, made_up, RunSpec(slippage=0.0005)), orders=10)


def test_drift_is_traded_back_in_both(made_up: Lake):
    strategy = Strategy(
        lambda bars: bars.close * 0 + 0.3, symbols=list(FILES), timeframe="1h", warmup=2, rebalance=0.01
    )
    agrees(replay_report(strategy, made_up, RunSpec()))


def test_a_strategy_that_looks_ahead_is_said_to_differ(made_up: Lake):
    strategy = Strategy(
        lambda bars: (bars.close.shift(-1) > bars.close).astype(float), symbols=["ETH/USDT"], timeframe="1h", warmup=2
    )
    report = replay_report(strategy, made_up, RunSpec())
    assert not report.parity.equal
    assert "DIFFER" in report.report()


@pytest.mark.real
@pytest.mark.slow
def test_a_real_year_of_one_symbol(real: Lake):
    strategy = notebook("sma_cross", symbols=["ETH/USDT"], fast=10, slow=30)
    report = replay_report(strategy, real, RunSpec(start="2025-01-01", end="2026-01-01", fee=0.001))
    agrees(report)
    assert len(report.ideal.equity) == 8760


@pytest.mark.real
@pytest.mark.slow
def test_a_real_year_of_three_symbols(real: Lake):
    strategy = notebook("momentum_rotation", symbols=list(FILES))
    agrees(replay_report(strategy, real, RunSpec(start="2025-01-01", end="2026-01-01", fee=0.001)))
