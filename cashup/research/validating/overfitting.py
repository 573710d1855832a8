"""The probability of backtest overfitting: how often the best in one half of the time is below the median in the other.

Combinatorially symmetric cross-validation: Bailey, Borwein, López de Prado and Zhu, "The Probability of Backtest
Overfitting", Journal of Computational Finance 20(4), 2017 (first published 2015).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cashup.errors import UsageError

if TYPE_CHECKING:
    import plotly.graph_objects as go

Floats = NDArray[np.float64]

CELLS = 4_000_000
"""Numbers that are looked at together: what bounds the memory, whatever the number of trials."""


@dataclass(frozen=True)
class Overfitting:
    """What choosing the best trial was worth, over every way to halve the time.

    `probability` (PBO): how often the chosen trial is at or below the median of all trials in the other half. `logits`:
    per halving ln(w / (1 - w)) of the chosen trial's relative rank w there. `chosen` and `judged`: its Sharpe ratio per
    observation in the half that chose it and in the other. `slope`: of the line judged = a + slope chosen; far below 0
    means that what looks better turns out worse. `loss`: how often `judged` is below 0.
    """

    probability: float
    logits: Floats
    chosen: Floats
    judged: Floats
    slope: float
    loss: float
    trials: int
    blocks: int

    def to_json(self) -> dict[str, Any]:
        """The figures without the arrays."""
        return {
            "probability": self.probability,
            "loss_probability": self.loss,
            "slope": self.slope if np.isfinite(self.slope) else None,
            "median_chosen_sharpe": float(np.median(self.chosen)),
            "median_judged_sharpe": float(np.median(self.judged)),
            "trials": self.trials,
            "blocks": self.blocks,
            "halvings": len(self.logits),
        }

    def plot(self) -> go.Figure:
        """The distribution of the logits; what lies left of 0 is overfitting."""
        from cashup.research.validating.pictures import histogram

        title = f"Probability of backtest overfitting: {self.probability:.0%} of {len(self.logits)} halvings"
        return histogram(self.logits, mark=0.0, mark_name="median of all trials", title=title, axis="logit of the rank")


def probability_of_overfitting(returns: ArrayLike, blocks: int = 16) -> Overfitting:
    """PBO of choosing the best Sharpe ratio among trials; `returns` is observations x trials, of the same times.

    The time is cut into `blocks` (even) stretches; every half of them chooses once and the rest judges. Observations
    that fill no stretch are left out at the beginning. Raises UsageError for fewer than 2 trials or too few
    observations.
    """
    matrix = np.asarray(returns, dtype=np.float64)
    _check(matrix, blocks)
    length = len(matrix) // blocks
    cut = matrix[len(matrix) - length * blocks :].reshape(blocks, length, -1)
    sums, squares = cut.sum(axis=1), (cut**2).sum(axis=1)
    parts = [_judge(sums, squares, halves, length) for halves in _halvings(blocks, matrix.shape[1])]
    chosen, judged, logits = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Overfitting(
        probability=float(np.mean(logits <= 0)),
        logits=logits,
        chosen=chosen,
        judged=judged,
        slope=_slope(chosen, judged),
        loss=float(np.mean(judged < 0)),
        trials=matrix.shape[1],
        blocks=blocks,
    )


def _check(matrix: Floats, blocks: int) -> None:
    if matrix.ndim != 2 or matrix.shape[1] < 2:
        raise UsageError("overfitting is about a choice; it needs the returns of at least 2 trials, one column each")
    if blocks < 2 or blocks % 2:
        raise UsageError(f"the time is cut into an even number of blocks, such as 16; it is {blocks}")
    if len(matrix) < 2 * blocks:
        raise UsageError(f"{len(matrix)} observations are too few for {blocks} blocks; name fewer, or a longer time")
    if not np.isfinite(matrix).all():
        raise UsageError("the returns of the trials have gaps; give all of them on the same times")


def _halvings(blocks: int, trials: int) -> Iterator[Floats]:
    """Every choice of half of the blocks as rows of 0 and 1, some rows at a time."""
    chosen = list(combinations(range(blocks), blocks // 2))
    size = max(CELLS // trials, 1)
    for start in range(0, len(chosen), size):
        part = np.array(chosen[start : start + size])
        rows = np.zeros((len(part), blocks))
        np.put_along_axis(rows, part, 1.0, axis=1)
        yield rows


def _judge(sums: Floats, squares: Floats, halves: Floats, length: int) -> tuple[Floats, Floats, Floats]:
    """Per halving the chosen trial's Sharpe ratio where it was chosen and where it is judged, and its logit there."""
    count = length * sums.shape[0] // 2
    inside = _sharpes(halves @ sums, halves @ squares, count)
    outside = _sharpes((1 - halves) @ sums, (1 - halves) @ squares, count)
    best = inside.argmax(axis=1)[:, None]
    chosen, judged = (np.take_along_axis(side, best, axis=1) for side in (inside, outside))
    rank = (outside < judged).sum(axis=1) + ((outside == judged).sum(axis=1) + 1) / 2  # ties share their ranks
    share = rank / (sums.shape[1] + 1)
    return chosen[:, 0], judged[:, 0], np.log(share / (1 - share))


def _sharpes(sums: Floats, squares: Floats, count: int) -> Floats:
    """Mean over sample deviation; 0 for a trial that never traded there."""
    mean = sums / count
    variance = (squares - count * mean**2) / (count - 1)
    made: Floats = np.divide(mean, np.sqrt(np.maximum(variance, 0)), out=np.zeros_like(mean), where=variance > 1e-24)
    return made


def _slope(chosen: Floats, judged: Floats) -> float:
    spread = float(chosen.var())
    return float(np.cov(chosen, judged, bias=True)[0, 1] / spread) if spread > 0 else float("nan")
