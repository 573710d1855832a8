"""Everything that a strategy may see passes the look-ahead and warm-up checks; the ways to misuse it do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import cashup as cu
from cashup.markets.synthetic import generate
from cashup.research.checks.run import check
from cashup.research.checks.verdict import Verdict
from cashup.strategies.bars import Bars

START = 1_735_689_600_000  # 2025-01-01
SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT", "SOL/USDT:USDT")
CHECKS = ("lookahead", "warmup")

model = cu.RollingModel(
    LogisticRegression,
    features=lambda bars: {"r1": bars.close.pct_change(), "r3": bars.close.pct_change(3)},
    label=lambda bars: bars.close.shift(-1) > bars.close,
    train="3d",
    every="1d",
    lookback=4,
)
ahead = cu.RollingModel(
    LogisticRegression,
    features=lambda bars: {"r1": bars.close.pct_change().shift(-1)},
    label=lambda bars: bars.close.shift(-1) > bars.close,
    train="3d",
    every="1d",
    lookback=4,
)
figures = pd.DataFrame(
    {"value": np.sin(np.arange(60)), "published": pd.date_range("2025-01-01 03:10", periods=60, freq="5h", tz="UTC")},
    index=pd.date_range("2024-12-31", periods=60, freq="5h", tz="UTC"),
)


@cu.indicator
def trend(bars: cu.Bars, length: int) -> pd.DataFrame:
    return bars.close.diff(length)


def market() -> Bars:
    """Two traded perpetuals and a watched one, with funding every eight hours."""
    bars = Bars.join({symbol: generate(symbol, "1h", START, 24 * 12, seed=2) for symbol in SYMBOLS}, "1h")
    due = np.arange(24 * 12)[:, None] // 8
    rates = np.where(due, np.sin(due + np.arange(3)) * 1e-4, np.nan)
    return Bars(bars.times, SYMBOLS, "1h", bars.values, beside={"funding": rates}).split(SYMBOLS[:2])


def strategy(
    target: Callable[[cu.Bars], pd.DataFrame], warmup: int, universe: cu.Universe | None = None
) -> cu.Strategy:
    return cu.Strategy(
        target,
        symbols=SYMBOLS[:2],
        watch=SYMBOLS[2:],
        sees=["funding"],
        timeframe="1h",
        warmup=warmup,
        universe=universe,
    )


def higher(bars: cu.Bars) -> pd.DataFrame:
    daily = bars.at("1d")
    return daily.align(daily.close.diff()) > 0


def watching(bars: cu.Bars) -> pd.DataFrame:
    return (bars.close > 0) & (bars.watch.close.diff(3).to_numpy() > 0)


def carrying(bars: cu.Bars) -> pd.DataFrame:
    return bars.funding > 0


def informed(bars: cu.Bars) -> pd.DataFrame:
    return bars.close * 0 + bars.known(figures, at="published").to_numpy().clip(0, 1)


def learning(bars: cu.Bars) -> pd.DataFrame:
    return (model.predict(bars) > 0.5) & (trend(bars, 2) > 0)


def holding(bars: cu.Bars) -> pd.DataFrame:
    return bars.universe.astype(float)


RULE = cu.Universe(top=1, over="1d", listed="1d", every="12h")
HONEST = [
    strategy(higher, 24 * 3),
    strategy(watching, 3),
    strategy(carrying, 1),
    strategy(informed, 4),
    strategy(learning, model.warmup("1h")),
    strategy(holding, 48, RULE),
]


def labelled_by_open(bars: cu.Bars) -> pd.DataFrame:
    return bars.at("1d").close.diff().reindex(bars.index, method="ffill") > 0


def as_hours(bars: cu.Bars) -> pd.DataFrame:
    return bars.align(bars.at("1d").close.diff(), "1h") > 0


def foreseen(bars: cu.Bars) -> pd.DataFrame:
    return (bars.close > 0) & (bars.watch.close.shift(-2) > bars.watch.close).to_numpy()


def foretold(bars: cu.Bars) -> pd.DataFrame:
    return ahead.predict(bars) > 0.5


@pytest.mark.parametrize("honest", HONEST, ids=lambda s: s.name)
def test_what_is_seen_by_its_rules_passes(honest: cu.Strategy) -> None:
    for done in check(honest, market(), only=CHECKS).checks:
        assert done.verdict is Verdict.PASSED, done


@pytest.mark.parametrize("target", [labelled_by_open, as_hours, foreseen, foretold], ids=lambda f: f.__name__)
def test_what_is_seen_too_early_is_found(target: Callable[[cu.Bars], pd.DataFrame]) -> None:
    (done,) = check(strategy(target, 24 * 4 + 8), market(), only=["lookahead"]).checks
    assert done.verdict is Verdict.FAILED, done


def test_a_warmup_that_does_not_cover_the_higher_bars_is_found() -> None:
    found = {done.name: done.verdict for done in check(strategy(higher, 24), market(), only=CHECKS).checks}
    assert found == {"lookahead": Verdict.PASSED, "warmup": Verdict.FAILED}
