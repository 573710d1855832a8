"""Sharpe ratios after many tries, against the numbers that the papers print."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from cashup.errors import UsageError
from cashup.research.validating.deflated import (
    Moments,
    deflated_sharpe,
    expected_maximum,
    min_backtest_years,
    min_track_record,
    moments,
    probabilistic_sharpe,
)

DAILY, WEEKLY, MONTHLY = 250, 52, 12


def record(yearly: float, per_year: int, years: float, skew: float = 0.0, kurtosis: float = 3.0) -> Moments:
    return Moments(yearly / math.sqrt(per_year), skew, kurtosis, round(years * per_year))


# Bailey and López de Prado 2012, "The Sharpe Ratio Efficient Frontier": the fund of two years of months in the example.
def test_the_probabilistic_ratio_of_the_papers_fund() -> None:
    assert probabilistic_sharpe(Moments(0.458, 0.0, 3.0, 24)) == pytest.approx(0.982, abs=5e-4)
    assert probabilistic_sharpe(Moments(0.458, -2.448, 10.164, 24)) == pytest.approx(0.913, abs=5e-4)


# The same paper, minimum track record: a yearly ratio of 2 above 1 with 95 % confidence takes these years.
@pytest.mark.parametrize(
    ("per_year", "skew", "kurtosis", "years"),
    [(DAILY, 0, 3, 2.73), (WEEKLY, 0, 3, 2.83), (MONTHLY, 0, 3, 3.24), (MONTHLY, -0.72, 5.78, 4.99)],
)
def test_the_years_a_record_must_have(per_year: int, skew: float, kurtosis: float, years: float) -> None:
    needed = min_track_record(record(2, per_year, 5, skew, kurtosis), benchmark=1 / math.sqrt(per_year))
    assert needed / per_year == pytest.approx(years, abs=0.006)


def test_a_record_of_that_length_has_that_confidence() -> None:
    of = Moments(0.1, -1.0, 6.0, 1)
    needed = min_track_record(of, benchmark=0.02, confidence=0.9)
    # T is an exact number here, so the probability is met exactly.
    reached = probabilistic_sharpe(Moments(0.1, -1.0, 6.0, needed), 0.02)  # type: ignore[arg-type]
    assert reached == pytest.approx(0.9)
    assert min_track_record(of, benchmark=0.1) == math.inf


# Bailey and López de Prado 2014, "The Deflated Sharpe Ratio", the numerical example: yearly ratio 2.5 on five years of
# 250 days, the trials' yearly variance 1/2.
@pytest.mark.parametrize(
    ("trials", "skew", "kurtosis", "bar", "probability"),
    [(100, -3, 10, 0.1132, 0.9004), (46, -3, 10, None, 0.9505), (88, 0, 3, None, 0.9505)],
)
def test_the_deflated_ratio_of_the_papers_example(
    trials: int, skew: float, kurtosis: float, bar: float | None, probability: float
) -> None:
    threshold = math.sqrt(0.5 / DAILY) * expected_maximum(trials)
    if bar is not None:
        assert threshold == pytest.approx(bar, abs=5e-5)
    assert probabilistic_sharpe(record(2.5, DAILY, 5, skew, kurtosis), threshold) == pytest.approx(
        probability, abs=5e-5
    )


# Bailey, Borwein, López de Prado and Zhu 2014: ten tries without skill give 1.57 in a year, 45 tries 1 in five years.
def test_the_expected_maximum_and_the_shortest_backtest() -> None:
    assert expected_maximum(10) == pytest.approx(1.57, abs=5e-3)
    assert min_backtest_years(45) == pytest.approx(5, abs=5e-3)
    assert min_backtest_years(45) < 2 * math.log(45), "the paper's bound"
    assert expected_maximum(1) == 0
    # The approximation against the exact expectation by simulation.
    drawn = np.random.default_rng(1).standard_normal((40_000, 100)).max(axis=1).mean()
    assert expected_maximum(100) == pytest.approx(drawn, abs=0.03)


def test_moments_are_the_samples() -> None:
    from scipy import stats

    values = np.random.default_rng(3).gamma(2.0, 1.0, 500) - 1.9
    of = moments([*values, math.nan])
    assert of.observations == 500
    assert of.sharpe == pytest.approx(values.mean() / values.std(ddof=1))
    assert of.skew == pytest.approx(stats.skew(values))
    assert of.kurtosis == pytest.approx(stats.kurtosis(values, fisher=False))


def test_it_is_vectorbts_figure_for_the_same_input() -> None:
    pytest.importorskip("vectorbt")  # which adds the accessor below

    index = pd.date_range("2024-01-01", periods=400, freq="D", tz="UTC")
    tried = pd.DataFrame(np.random.default_rng(7).normal(0.0004, 0.01, (400, 12)), index=index)
    yearly = tried.mean() / tried.std(ddof=1) * math.sqrt(365)
    theirs = tried.vbt.returns(freq="1D", year_freq="365D").deflated_sharpe_ratio(ddof=1)
    ours = [deflated_sharpe(tried[column], yearly / math.sqrt(365)).dsr for column in tried]
    assert ours == pytest.approx(theirs.tolist(), rel=1e-9)


def test_more_tries_deflate_more_and_one_try_does_not() -> None:
    returns = np.random.default_rng(5).normal(0.001, 0.01, 1_000)
    alone = deflated_sharpe(returns, trials=1)
    assert alone.dsr == alone.psr
    seen = [deflated_sharpe(returns, trials=n, variance=0.001).dsr for n in (2, 10, 100, 1_000)]
    assert alone.dsr > seen[0] > seen[1] > seen[2] > seen[3]
    counted = deflated_sharpe(returns, [0.01, math.nan, 0.03])
    assert (counted.trials, counted.variance) == (3, pytest.approx(0.0002))
    assert counted.to_json()["dsr"] == counted.dsr


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deflated_sharpe([0.1, 0.2, -0.1]), "how many trials"),
        (lambda: deflated_sharpe([0.1, 0.2, -0.1], trials=3), "variance="),
        (lambda: deflated_sharpe([0.1, 0.2, -0.1], trials=3, variance=-1), "not below 0"),
        (lambda: deflated_sharpe([0.1, 0.1, 0.1], trials=1), "never change"),
        (lambda: moments([0.1]), "at least 3 returns"),
        (lambda: expected_maximum(0), "at least one trial"),
        (lambda: min_track_record(Moments(0.1, 0, 3, 9), confidence=95), "between 0 and 1"),
    ],
)
def test_what_cannot_be_asked(call, message) -> None:
    with pytest.raises(UsageError, match=message):
        call()
