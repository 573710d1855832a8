"""Is a Sharpe ratio luck? The probabilistic and the deflated Sharpe ratio, and how long a record must be.

Sharpe ratios here are those of one observation (mean over standard deviation of the bar or day returns), not yearly
ones: the formulas hold for nothing else. Kurtosis is Pearson's (3 for a normal distribution). Sources:

- Bailey and López de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2), 2012: PSR, MinTRL.
- Bailey and López de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40(5), 2014: DSR.
- Bailey, Borwein, López de Prado and Zhu, "Pseudo-Mathematics and Financial Charlatanism", Notices of the AMS 61(5),
  2014: the expected maximum and MinBTL.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cashup.errors import UsageError

NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Moments:
    """A return series as the formulas see it: its Sharpe ratio per observation, shape, and length."""

    sharpe: float
    skew: float
    kurtosis: float
    observations: int


@dataclass(frozen=True, slots=True)
class Deflated:
    """A Sharpe ratio (per observation) after `trials` tries, of which the best was shown.

    `psr` is the probability that the true ratio is above 0, `dsr` that it is above `expected_max`, the best ratio that
    so many tries without any skill are expected to give. `min_track_record` is how many observations it takes to say
    with 95 % confidence that the ratio is above 0 (infinite when it is not even above 0 here).
    """

    sharpe: float
    skew: float
    kurtosis: float
    observations: int
    trials: int
    variance: float
    expected_max: float
    psr: float
    dsr: float
    min_track_record: float

    def to_json(self) -> dict[str, Any]:
        """The figures; None where there is no finite one."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


def moments(returns: ArrayLike) -> Moments:
    """The moments of `returns` (one-dimensional, NaN left out); raises UsageError when they have none.

    The Sharpe ratio takes the sample deviation (n - 1); skew and kurtosis are the population's, as in the papers.
    """
    values = np.asarray(returns, dtype=np.float64).ravel()
    values = values[~np.isnan(values)]
    if len(values) < 3:
        raise UsageError(f"a Sharpe ratio needs at least 3 returns, here are {len(values)}; take a longer time")
    centred = values - values.mean()
    spread = float(np.sqrt(np.mean(centred**2)))
    if spread <= 1e-15 * max(1.0, float(np.abs(values).max())):
        raise UsageError("the returns never change, so they have no Sharpe ratio; let the strategy trade")
    return Moments(
        sharpe=float(values.mean() / values.std(ddof=1)),
        skew=float(np.mean(centred**3) / spread**3),
        kurtosis=float(np.mean(centred**4) / spread**4),
        observations=len(values),
    )


def probabilistic_sharpe(of: Moments, benchmark: float = 0.0) -> float:
    """The probability that the true Sharpe ratio is above `benchmark` (per observation).

    PSR(SR*) = Z[(SR - SR*) sqrt(T - 1) / sqrt(1 - skew SR + (kurtosis - 1)/4 SR^2)]: Bailey and López de Prado 2012.
    """
    return NORMAL.cdf((of.sharpe - benchmark) * math.sqrt(of.observations - 1) / math.sqrt(_shape(of)))


def min_track_record(of: Moments, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """How many observations it takes until PSR(benchmark) reaches `confidence`; infinite at or below the benchmark.

    MinTRL = 1 + (1 - skew SR + (kurtosis - 1)/4 SR^2) (Z^-1[confidence] / (SR - SR*))^2: Bailey and López de Prado
    2012.
    """
    _check_confidence(confidence)
    if of.sharpe <= benchmark:
        return math.inf
    return 1 + _shape(of) * (NORMAL.inv_cdf(confidence) / (of.sharpe - benchmark)) ** 2


def expected_maximum(trials: int) -> float:
    """The expected largest of `trials` independent standard normal numbers; 0 for a single one.

    (1 - g) Z^-1[1 - 1/N] + g Z^-1[1 - 1/(N e)] with the Euler-Mascheroni constant g: the approximation of Bailey et
    al. 2014 (1.575 for N = 10, where the exact value is 1.539).
    """
    if trials < 1:
        raise UsageError(f"a result comes from at least one trial; it is {trials}")
    if trials == 1:
        return 0.0
    low, high = NORMAL.inv_cdf(1 - 1 / trials), NORMAL.inv_cdf(1 - 1 / (trials * math.e))
    return float((1 - np.euler_gamma) * low + np.euler_gamma * high)


def min_backtest_years(trials: int, sharpe: float = 1.0) -> float:
    """Years below which the best of `trials` tries without skill is expected to reach the yearly ratio `sharpe`.

    MinBTL = (E[max of N] / SR)^2: Bailey et al. 2014.
    """
    if not sharpe > 0:
        raise UsageError(f"the yearly Sharpe ratio to stay below must be above 0; it is {sharpe:g}")
    return (expected_maximum(trials) / sharpe) ** 2


def deflated_sharpe(
    returns: ArrayLike,
    trial_sharpes: Sequence[float] | NDArray[np.float64] | None = None,
    *,
    trials: int | None = None,
    variance: float | None = None,
) -> Deflated:
    """The deflated Sharpe ratio of `returns`, the best of what was tried.

    `trial_sharpes` are the Sharpe ratios of every trial, per observation of the same length (NaN left out), from which
    number and variance are taken; `trials` and `variance` say them instead, and win. With one trial it is PSR(0).
    DSR = PSR(sqrt(variance) E[max of N]): Bailey and López de Prado 2014. Raises UsageError when nothing says how many
    trials there were.
    """
    of = moments(returns)
    number, spread = _trials(trial_sharpes, trials, variance)
    bar = math.sqrt(spread) * expected_maximum(number)
    return Deflated(
        sharpe=of.sharpe,
        skew=of.skew,
        kurtosis=of.kurtosis,
        observations=of.observations,
        trials=number,
        variance=spread,
        expected_max=bar,
        psr=probabilistic_sharpe(of),
        dsr=probabilistic_sharpe(of, bar),
        min_track_record=min_track_record(of),
    )


def _shape(of: Moments) -> float:
    """The variance of the estimated ratio times T - 1; the sample's own moments keep it above 0."""
    return 1 - of.skew * of.sharpe + (of.kurtosis - 1) / 4 * of.sharpe**2


def _trials(sharpes: ArrayLike | None, trials: int | None, variance: float | None) -> tuple[int, float]:
    known = np.asarray([] if sharpes is None else sharpes, dtype=np.float64).ravel()
    finite = known[np.isfinite(known)]
    number = trials if trials is not None else max(len(known), 1) if sharpes is not None else None
    if number is None:
        raise UsageError("say how many trials there were: trial_sharpes=[...], or trials= and variance=")
    if variance is None:
        if len(finite) < 2 and number > 1:
            raise UsageError("the trials' Sharpe ratios are needed, or their variance=, to deflate by them")
        variance = float(finite.var(ddof=1)) if len(finite) > 1 else 0.0
    if variance < 0:
        raise UsageError(f"a variance is not below 0; it is {variance:g}")
    return number, variance


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise UsageError(f"a confidence lies between 0 and 1, such as 0.95; it is {confidence:g}")
