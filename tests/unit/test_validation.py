"""The validation of one backtest: every test of it together, and the Sharpe ratio after the counted trials."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import cashup as cu
from cashup.clock import parse_time
from cashup.errors import DataError, UsageError
from cashup.markets.lake import Lake
from cashup.markets.synthetic import generate
from cashup.research.backtest import Backtest, backtest
from cashup.research.spec import RunSpec
from cashup.research.validating.validation import deflated_of, validate
from cashup.settings import load_settings
from cashup.strategies.bars import Bars
from cashup.strategies.registry import Trial
from cashup.strategies.strategy import Strategy

START = parse_time("2024-01-01")
BARS = Bars.join({"BTC/USDT": generate("BTC/USDT", "1h", START, 1_500, 3)}, "1h")


def cross(bars: Bars):
    return (bars.close.rolling(5).mean() > bars.close.rolling(20).mean()).astype(float)


STRATEGY = Strategy(cross, symbols=["BTC/USDT"], timeframe="1h", warmup=20)


def tried(sharpe: float | None, number: int = 0) -> Trial:
    return Trial("run", number, "notebook", "hash", {"fast": number}, {"sharpe": sharpe})


@pytest.fixture(scope="module")
def run() -> Backtest:
    return backtest(STRATEGY, BARS, RunSpec())


def test_every_test_is_made_and_the_seed_decides(run: Backtest) -> None:
    made = validate(run, BARS, samples=100, histories=3, seed=5)
    document = json.loads(json.dumps(made.to_json()))
    tests = ("significance", "deflated", "shuffled", "resampled", "returns", "histories")
    assert all(document[name] for name in tests)
    assert document["years"] == pytest.approx(1_480 / 8_760)
    assert document == json.loads(json.dumps(validate(run, BARS, samples=100, histories=3, seed=5).to_json()))
    assert document != json.loads(json.dumps(validate(run, BARS, samples=100, histories=3, seed=6).to_json()))
    assert made.shuffled is not None
    assert made.shuffled.observed_drawdown <= document["metrics"]["max_drawdown"], "exits see less than bars"


def test_the_trials_are_taken_to_days_and_counted_with_or_without_a_ratio(run: Backtest) -> None:
    yearly = [1.0, -0.5, 2.0]
    made = deflated_of(run, [*(tried(ratio, n) for n, ratio in enumerate(yearly)), tried(None, 9)])
    assert made.trials == 4
    assert made.variance == pytest.approx(np.var(yearly, ddof=1) / 365)
    daily = run.equity.resample("1D").last()
    returns = daily / daily.shift(1, fill_value=run.capital) - 1
    assert made.observations == len(returns)
    assert made.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1))
    assert deflated_of(run, []).dsr == made.psr
    with pytest.raises(UsageError, match="Sharpe ratios are needed"):
        deflated_of(run, [tried(None, 1), tried(1.0, 2)])


def test_the_report_is_one_file_with_one_script(run: Backtest, tmp_path: Path) -> None:
    made = validate(run, BARS, trials=[tried(1.0, 1), tried(2.0, 2)], samples=50, histories=2)
    page = made.save(tmp_path / "report.html").read_text()
    assert page.count("plotly.js v") == 1
    for heading in ("Signal", "Sharpe ratio", "The same trades in other orders", "The strategy on other histories"):
        assert f"<h2>{heading}</h2>" in page
    assert "<link" not in page
    assert "src=" not in page.split("plotly.js v")[0]
    assert made.min_years == pytest.approx((made.deflated.expected_max / math.sqrt(made.deflated.variance)) ** 2)


def test_a_notebook_validates_its_run_on_the_bars_it_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASHUP_HOME", str(tmp_path))
    lake = Lake(load_settings().lake_path)
    lake.write("gate", "BTC/USDT", "1h", generate("BTC/USDT", "1h", START, 600, 3))
    run = cu.run(STRATEGY)
    assert cu.validate(run, samples=20, histories=1).run is run
    lake.write("gate", "BTC/USDT", "1h", generate("BTC/USDT", "1h", START, 600, 4))
    with pytest.raises(DataError, match="other bars now"):
        cu.validate(run)
