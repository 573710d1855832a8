"""Does the signal know anything? Tested before any order, on what the market did after each target.

The return that a target earns is the one from the open at which it is executed to the next open. It is detrended (its
mean is taken away), so that being long in a rising market is no skill; what is left is compared with what resampling
finds without any. Costs and sizes play no part. Sources: Aronson, "Evidence-Based Technical Analysis", Wiley 2006,
chapters 1, 5 and 6 (detrending, bootstrap test); White, "A Reality Check for Data Snooping", Econometrica 68(5), 2000;
Romano and Wolf, "Stepwise Multiple Testing as Formalized Data Snooping", Econometrica 73(4), 2005.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cashup.errors import UsageError
from cashup.research.validating.bootstrap import bootstrap_means, default_block
from cashup.strategies.bars import Bars

if TYPE_CHECKING:
    import plotly.graph_objects as go

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Significance:
    """A signal against chance. `mean` is its detrended return per bar, `p_value` the probability of one as large
    without skill, `null` the means that resampling gave around 0, `block` the blocks' mean length in bars."""

    mean: float
    p_value: float
    null: Floats
    bars: int
    block: float
    seed: int

    def to_json(self) -> dict[str, Any]:
        """The figures without the array."""
        return {
            "mean_return_per_bar": self.mean,
            "p_value": self.p_value,
            "bars": self.bars,
            "block": self.block,
            "samples": len(self.null),
            "seed": self.seed,
        }

    def plot(self) -> go.Figure:
        """The means that chance gives, and the signal's."""
        from cashup.research.validating.pictures import histogram

        title = f"Signal against chance: p = {self.p_value:.3f}"
        return histogram(
            self.null * 1e4, mark=self.mean * 1e4, mark_name="signal", title=title, axis="mean return per bar [bp]"
        )


@dataclass(frozen=True)
class RealityCheck:
    """Several rules against chance at once.

    `p_value` is White's: the probability that the best of so many rules without skill does as well as the best here.
    `adjusted` has a p-value per rule that counts all of them (Romano and Wolf's stepdown).
    """

    best: str
    p_value: float
    means: pd.Series[float]
    adjusted: pd.Series[float]
    block: float
    seed: int

    def to_json(self) -> dict[str, Any]:
        """The figures, per rule by its name."""
        return {
            "best": self.best,
            "p_value": self.p_value,
            "means": {str(name): float(mean) for name, mean in self.means.items()},
            "adjusted": {str(name): float(p) for name, p in self.adjusted.items()},
            "block": self.block,
            "seed": self.seed,
        }


def signal_returns(targets: pd.DataFrame, bars: Bars) -> Floats:
    """What each decision of `targets` (the last rows of `bars`, time x symbol) earned, detrended, summed over symbols.

    One value per decision whose next two opens are known, thus two fewer than rows: position(t) x (return from the open
    of t+1 to that of t+2 - its mean). NaN keeps the position; a bar without a price earns nothing.
    """
    opens = bars.open.to_numpy()[len(bars) - len(targets) :]
    if len(opens) < 4:
        raise UsageError(f"{len(opens)} decisions are too few for a test; take a longer time")
    with np.errstate(invalid="ignore"):
        earned = opens[2:] / opens[1:-1] - 1
    known = np.isfinite(earned)
    counts = np.maximum(known.sum(axis=0), 1)
    detrended = np.where(known, earned - np.where(known, earned, 0.0).sum(axis=0) / counts, 0.0)
    positions = targets.ffill().fillna(0.0).to_numpy()[:-2]
    made: Floats = (positions * detrended).sum(axis=1)
    return made


def signal_significance(
    targets: pd.DataFrame, bars: Bars, *, samples: int = 2_000, block: float | None = None, seed: int = 0
) -> Significance:
    """Test `targets` (as `Strategy.targets` gives them, without the warm-up rows) on `bars`; one-sided.

    The detrended returns are centred at 0 and resampled by the stationary bootstrap in blocks of `block` bars (default:
    what their memory asks for). The p-value is (1 + how many means are as large) / (1 + samples).
    """
    returns = signal_returns(targets, bars)
    length = default_block(returns) if block is None else block
    mean = float(returns.mean())
    null = bootstrap_means(returns - mean, length, samples, seed)[:, 0]
    # A signal that never holds anything earns exactly what chance earns: it must not look special by rounding.
    p_value = 1.0 if not returns.any() else _p_value(mean, null)
    return Significance(mean, p_value, null, len(returns), length, seed)


def reality_check(
    returns: Mapping[str, ArrayLike] | pd.DataFrame,
    *,
    samples: int = 2_000,
    block: float | None = None,
    seed: int = 0,
) -> RealityCheck:
    """Test rules together on `returns`, one column of equal length per rule (of `signal_returns`, or of equity).

    Every sample takes the same times for all rules, so that their likeness counts. Means are divided by their bootstrap
    deviation for the stepdown, and taken as they are for White's p-value.
    """
    frame = pd.DataFrame(returns).astype(np.float64)
    if frame.shape[1] < 1 or len(frame) < 4:
        raise UsageError("a reality check needs at least one rule and 4 returns of it")
    values = frame.to_numpy()
    length = max(default_block(column) for column in values.T) if block is None else block
    means = values.mean(axis=0)
    null = bootstrap_means(values - means, length, samples, seed)
    spread = null.std(axis=0)
    scale = np.where(spread > 0, spread, np.inf)
    return RealityCheck(
        best=str(frame.columns[int(means.argmax())]),
        p_value=_p_value(float(means.max()), null.max(axis=1)),
        means=pd.Series(means, frame.columns),
        adjusted=pd.Series(_stepdown(means / scale, null / scale), frame.columns),
        block=length,
        seed=seed,
    )


def _stepdown(observed: Floats, null: Floats) -> Floats:
    """Per rule how probable it is that the largest of it and all worse ones is as large by chance; never falling."""
    order = np.argsort(-observed, kind="stable")
    adjusted = np.empty(len(observed))
    highest = 0.0
    for step, rule in enumerate(order):
        highest = max(highest, _p_value(float(observed[rule]), null[:, order[step:]].max(axis=1)))
        adjusted[rule] = highest
    return adjusted


def _p_value(observed: float, null: Floats) -> float:
    return float((1 + np.count_nonzero(null >= observed)) / (1 + len(null)))
