"""The stationary bootstrap: its moments as the paper proves them, its block length as its authors' program gives it."""

from __future__ import annotations

import numpy as np
import pytest

from cashup.errors import UsageError
from cashup.research.validating import bootstrap
from cashup.research.validating.bootstrap import block_length, bootstrap_means, default_block, stationary_indices


def variance_of_the_mean(series: np.ndarray, block: float) -> float:
    """Politis and Romano 1994, lemma 1, with p = 1/block."""
    bars, p = len(series), 1 / block
    centred = series - series.mean()
    lag = np.arange(bars)
    covariance = np.array([centred[k:] @ centred[: bars - k] for k in lag]) / bars
    weight = (1 - lag / bars) * (1 - p) ** lag + lag / bars * (1 - p) ** (bars - lag)
    return (covariance[0] + 2 * (weight[1:] @ covariance[1:])) / bars


@pytest.mark.parametrize("block", [1, 7, 40])
def test_the_mean_and_its_variance_are_what_the_paper_proves(block: float) -> None:
    series = np.random.default_rng(1).normal(size=200).cumsum() * 0.1
    means = bootstrap_means(series, block, 40_000, seed=3)[:, 0]
    exact = variance_of_the_mean(series, block)
    assert means.mean() == pytest.approx(series.mean(), abs=4 * np.sqrt(exact / 40_000))
    assert means.var() == pytest.approx(exact, rel=0.04)
    drawn = [series[stationary_indices(200, block, np.random.default_rng(n))].mean() for n in range(4_000)]
    assert np.var(drawn) == pytest.approx(exact, rel=0.1)


def test_blocks_have_the_length_that_was_asked_for_and_wrap() -> None:
    rows = stationary_indices(100_000, 25, np.random.default_rng(2))
    steps = np.diff(rows)
    assert np.mean((steps == 1) | (steps == -99_999)) == pytest.approx(1 - 1 / 25, abs=0.003)
    assert rows.min() >= 0
    assert rows.max() < 100_000


def test_columns_are_drawn_together() -> None:
    pair = np.random.default_rng(4).normal(size=(300, 1)) * [1.0, -2.0]
    means = bootstrap_means(pair, 5, 50, seed=1)
    assert means[:, 1] == pytest.approx(-2 * means[:, 0])


def test_the_seed_decides_and_memory_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    series = np.random.default_rng(4).normal(size=300)
    first = bootstrap_means(series, 5, 500, seed=1)
    assert (first == bootstrap_means(series, 5, 500, seed=1)).all()
    assert (first != bootstrap_means(series, 5, 500, seed=2)).any()
    assert bootstrap.DRAWS > 500 * 300 / 5, "this case is drawn at once; the next one is not"
    assert bootstrap_means(series, 1, bootstrap.DRAWS // 300 + 10, seed=1).std() == pytest.approx(
        series.std() / np.sqrt(300), rel=0.05
    )


# The series and the figure by which the authors' program is checked elsewhere: AR(1) with 0.3, 10,000 observations.
def test_the_block_length_is_that_of_its_authors_program() -> None:
    series = np.random.RandomState(0).standard_normal(10_100)
    for bar in range(1, len(series)):
        series[bar] += 0.3 * series[bar - 1]
    assert block_length(series[100:]) == pytest.approx(13.635665, rel=1e-6)


def test_more_memory_asks_for_longer_blocks() -> None:
    noise = np.random.default_rng(8).standard_normal(3_000)
    lengths = []
    for memory in (0.0, 0.5, 0.9):
        series = noise.copy()
        for bar in range(1, len(series)):
            series[bar] += memory * series[bar - 1]
        lengths.append(block_length(series))
    assert lengths[0] < lengths[1] < lengths[2]
    assert default_block(noise) >= 3_000 ** (1 / 3) - 1e-9
    assert block_length(np.ones(50)) == 1


def test_what_cannot_be_resampled() -> None:
    with pytest.raises(UsageError, match="nothing to resample"):
        bootstrap_means([], 3, 10, 0)
    with pytest.raises(UsageError, match="at least one bar"):
        bootstrap_means([1.0, 2.0], 0.5, 10, 0)
