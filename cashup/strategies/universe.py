"""A universe by rule: which of the candidates may be held, decided again and again on what was known then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.clock import timeframe_millis
from cashup.errors import NotebookError, UsageError
from cashup.strategies.bars import Bars
from cashup.strategies.timeframes import grid_floor
from cashup.types import Millis

Score = Callable[[Bars], pd.DataFrame]
"""A number per bar and symbol, the higher the better; NaN for a symbol that cannot be chosen."""


@dataclass(frozen=True)
class Universe:
    """The `top` symbols of a strategy's candidates, chosen anew `every` so often; targets of the others are 0.

        cu.Strategy(target, symbols=candidates, universe=cu.Universe(top=10, over="30d", listed="90d", every="7d"), ...)

    `by="volume"` ranks by the traded value (close x volume, in quote currency) of the bars in `over`; a function of the
    bars ranks by what it returns for the last bar before the choice. A symbol counts when it had a bar `listed` ago (to
    be exact: in the `every` before that). Choices are made at fixed times (multiples of `every` since the epoch, weeks
    on Monday), on bars that had closed, and hold until the next one. Of equals the earlier candidate is chosen.

    `bars.universe` shows it to the target. Bars are joined so that a candidate without a bar has NaN there. Durations
    are ccxt's (`12h`, `30d`, `1w`). Raises NotebookError for anything else.
    """

    top: int
    by: str | Score = "volume"
    over: str = "30d"
    listed: str = "90d"
    every: str = "7d"

    def __post_init__(self) -> None:
        if isinstance(self.top, bool) or not isinstance(self.top, int) or self.top < 1:
            raise NotebookError(f"a universe holds the top 1 or more symbols; top is {self.top!r}")
        if self.by != "volume" and not callable(self.by):
            raise NotebookError(f"a universe ranks by 'volume' or by a function of bars; by is {self.by!r}")
        for name in ("over", "listed", "every"):
            _duration(name, getattr(self, name))

    @property
    def lookback(self) -> Millis:
        """How much history in ms a choice needs, and how long it is held: what a warm-up must cover."""
        over, listed, every = (_duration(name, getattr(self, name)) for name in ("over", "listed", "every"))
        return max(over, listed + every) + every

    def members(self, bars: Bars) -> NDArray[np.bool_]:
        """Per bar and symbol (n x symbols) whether it may be held; nobody before there is history for a choice."""
        chosen = np.zeros((len(bars), len(bars.symbols)), dtype=bool)
        if not len(bars):
            return chosen
        times = grid_floor(bars.closes, _duration("every", self.every))
        starts = np.flatnonzero(np.diff(times, prepend=times[0] - 1))
        score = None if isinstance(self.by, str) else _scores(self.by, bars)
        for start, stop in zip(starts, [*starts[1:], len(bars)], strict=True):
            chosen[start:stop] = self._choose(bars, int(times[start]), score)
        return chosen

    def _choose(self, bars: Bars, moment: Millis, score: NDArray[np.float64] | None) -> NDArray[np.bool_]:
        """Which symbols are in from `moment` on, by the bars that had closed then."""
        every = _duration("every", self.every)
        before = moment - _duration("listed", self.listed)
        start = moment - _duration("over", self.over)
        chosen = np.zeros(len(bars.symbols), dtype=bool)
        if bars.times[0] > min(before - every, start):
            return chosen
        end = int(np.searchsorted(bars.closes, moment, side="right"))
        listed = ~np.isnan(bars.values[3, bars.position(before - every) : bars.position(before)]).all(axis=0)
        points = _turnover(bars, bars.position(start), end) if score is None else score[end - 1]
        eligible = np.flatnonzero(listed & np.isfinite(points) & ((points > 0) | (score is not None)))
        chosen[eligible[np.argsort(-points[eligible], kind="stable")[: self.top]]] = True
        return chosen


def _turnover(bars: Bars, start: int, stop: int) -> NDArray[np.float64]:
    """The value traded per symbol in the rows from `start` to `stop`, in quote currency."""
    rows = slice(start, stop)
    traded = [
        np.nansum(np.ascontiguousarray(bars.values[3, rows, symbol]) * bars.values[4, rows, symbol])
        for symbol in range(len(bars.symbols))
    ]
    return np.array(traded, dtype=np.float64)


def _scores(by: Score, bars: Bars) -> NDArray[np.float64]:
    frame = by(bars)
    if not isinstance(frame, pd.DataFrame) or frame.shape != bars.close.shape:
        raise NotebookError(f"the universe's function must return a frame like bars.close; it returned a {type(frame)}")
    return frame[list(bars.symbols)].to_numpy(dtype=np.float64)


def _duration(name: str, text: object) -> Millis:
    try:
        return timeframe_millis(str(text))
    except UsageError:
        raise NotebookError(f"{name} of a universe is a duration such as '30d'; it is {text!r}") from None
