"""A signal that knows something is told from one that does not, and from a market that only rises."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cashup.errors import UsageError
from cashup.research.validating.significance import reality_check, signal_returns, signal_significance
from cashup.strategies.bars import Bars

HOUR = 3_600_000


def market(returns: np.ndarray) -> Bars:
    """Bars whose opens make these returns; one symbol, or one per column."""
    table = returns[:, None] if returns.ndim == 1 else returns
    opens = 100 * np.cumprod(1 + np.vstack([np.zeros((1, table.shape[1])), table]), axis=0)
    values = np.array([opens, opens * 1.01, opens * 0.99, opens, np.ones_like(opens)])
    symbols = [f"{'ABCDEF'[column]}/USDT" for column in range(table.shape[1])]
    return Bars(np.arange(len(opens), dtype=np.int64) * HOUR, symbols, "1h", values)


def holding(bars: Bars, positions) -> pd.DataFrame:
    return pd.DataFrame(
        np.broadcast_to(np.asarray(positions, dtype=float), bars.close.shape), index=bars.index, columns=bars.symbols
    )


def test_a_decision_earns_what_follows_its_execution_detrended() -> None:
    bars = market(np.array([0.5, 0.1, -0.2, 0.3]))
    positions = np.array([[0.0], [1.0], [np.nan], [0.0], [1.0]])
    # Decided at bars 0, 1, 2; the opens they live between: 1-2, 2-3, 3-4 with the returns 0.1, -0.2, 0.3, mean 1/15.
    expected = np.array([0.0, -0.2 - 1 / 15, 0.3 - 1 / 15])
    assert signal_returns(holding(bars, positions), bars) == pytest.approx(expected)


def test_only_the_rows_of_the_targets_count() -> None:
    bars = market(np.array([9.0, 9.0, 0.1, -0.2, 0.3]))
    targets = holding(bars, 1.0).iloc[2:]
    assert signal_returns(targets, bars) == pytest.approx(np.array([-0.2, 0.3]) - 0.05)


def test_knowing_the_next_bar_is_significant_and_a_coin_is_not() -> None:
    random = np.random.default_rng(1)
    returns = random.normal(0, 0.01, 1_500)
    bars = market(returns)
    knows = np.sign(np.append(returns[1:], [0, 0]))[:, None] * (random.random((1_501, 1)) < 0.3)
    assert signal_significance(holding(bars, knows), bars, samples=999).p_value == pytest.approx(0.001)
    coins = [
        signal_significance(holding(bars, random.integers(0, 2, (1_501, 1))), bars, samples=400, seed=n).p_value
        for n in range(60)
    ]
    assert np.mean(np.array(coins) < 0.2) == pytest.approx(0.2, abs=0.14)


def test_being_long_in_a_rising_market_is_no_skill() -> None:
    bars = market(np.random.default_rng(2).normal(0.002, 0.01, 2_000))
    always = signal_significance(holding(bars, 1.0), bars, samples=500)
    assert always.mean == pytest.approx(0, abs=1e-12)
    assert always.p_value > 0.2
    assert signal_significance(holding(bars, 0.0), bars, samples=200).p_value == 1


def test_a_bar_without_a_price_earns_nothing() -> None:
    bars = market(np.random.default_rng(3).normal(0, 0.01, (300, 2)))
    values = bars.values.copy()
    values[:, :100, 1] = np.nan
    listed_late = Bars(bars.times, bars.symbols, "1h", values)
    assert np.isfinite(signal_returns(holding(listed_late, 1.0), listed_late)).all()


def test_the_seed_decides() -> None:
    bars = market(np.random.default_rng(3).normal(0, 0.01, 300))
    targets = holding(bars, np.random.default_rng(4).integers(0, 2, (301, 1)))
    assert (signal_significance(targets, bars, seed=1).null == signal_significance(targets, bars, seed=1).null).all()
    assert (signal_significance(targets, bars, seed=1).null != signal_significance(targets, bars, seed=2).null).any()
    assert signal_significance(targets, bars).to_json()["samples"] == 2_000


def test_the_best_of_many_coins_is_not_special_and_an_edge_among_them_is() -> None:
    random = np.random.default_rng(5)
    rules = pd.DataFrame(random.normal(0, 0.01, (1_000, 30)), columns=[f"rule {n}" for n in range(30)])
    lucky = reality_check(rules, samples=800, block=1)
    alone = reality_check(rules[[lucky.best]], samples=800, block=1)
    assert alone.p_value < 0.05 < lucky.p_value, "what looks good alone is what thirty tries give"
    rules["rule 7"] += 0.002
    found = reality_check(rules, samples=800, block=1)
    assert found.best == "rule 7"
    assert found.p_value < 0.01
    assert found.adjusted["rule 7"] < 0.01
    assert (found.adjusted.drop("rule 7") > 0.05).all()
    assert found.to_json()["adjusted"]["rule 7"] == found.adjusted["rule 7"]


def test_the_stepdown_finds_the_second_edge_that_the_first_would_hide() -> None:
    random = np.random.default_rng(6)
    rules = random.normal(0, 0.01, (2_000, 20))
    rules[:, 3] += 0.0030
    rules[:, 4] += 0.0010
    found = reality_check(pd.DataFrame(rules), samples=2_000, block=1)
    assert found.adjusted[3] <= found.adjusted[4] < 0.01
    order = found.adjusted[(found.means / rules.std(axis=0)).sort_values(ascending=False).index]
    assert order.is_monotonic_increasing


def test_false_alarms_come_as_often_as_they_may() -> None:
    alarms = [
        reality_check(pd.DataFrame(np.random.default_rng(n).normal(size=(200, 8))), samples=300, block=1).adjusted.min()
        for n in range(150)
    ]
    assert np.mean(np.array(alarms) < 0.1) == pytest.approx(0.1, abs=0.07)


def test_what_cannot_be_tested() -> None:
    bars = market(np.array([0.1, 0.2]))
    with pytest.raises(UsageError, match="too few"):
        signal_significance(holding(bars, 1.0), bars)
    with pytest.raises(UsageError, match="at least one rule"):
        reality_check({})
