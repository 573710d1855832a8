"""The walk: every set on every train window, the best of them on the test, the tests joined to whole ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.clock import timeframe_millis
from cashup.errors import WorkFailed
from cashup.research.backtest import rates_of
from cashup.research.funding import Rates
from cashup.research.reporting.statistics import YEAR
from cashup.research.spec import RunSpec
from cashup.research.validating.candidates import Candidates
from cashup.research.validating.schedule import Schedule
from cashup.research.validating.scoring import objective as objective_of
from cashup.research.validating.scoring import sharpe
from cashup.research.validating.segments import Segment, Tape
from cashup.research.validating.splits import Span
from cashup.strategies.bars import Bars, to_index

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]
"""Called with how many sets are done, and of how many."""

DAY = 86_400_000

LOST = 1e-12
"""What counts as left of an account that lost everything, so that its logarithm is a number."""


@dataclass(frozen=True)
class Fold:
    """One split: the chosen set, and its returns bar by bar where it was chosen and where it was judged."""

    params: Mapping[str, Any]
    train: tuple[Span, ...]
    test: tuple[Span, ...]
    train_figure: float
    test_figure: float
    train_returns: Floats
    test_returns: Floats


@dataclass(frozen=True)
class Walk:
    """What came of it.

    `scores`: the objective of every set (row) on the train bars of every split (column), NaN where it never traded.
    `sharpes`: the yearly Sharpe ratios there, whatever the objective. `winners`: per split the row of the chosen set.
    `daily`: the daily returns of every set over the whole time, days x sets. `ways`: per whole way through the time its
    segments in order. `times`: the bars that may decide.
    """

    candidates: Candidates
    plan: Schedule
    objective: str
    scores: Floats
    sharpes: Floats
    winners: tuple[int, ...]
    daily: pd.DataFrame
    folds: tuple[Fold, ...]
    ways: tuple[tuple[Segment, ...], ...]
    times: pd.DatetimeIndex
    timeframe: str
    data_version: str


def walk(
    candidates: Candidates,
    bars: Bars,
    spec: RunSpec,
    plan: Schedule,
    objective: str,
    progress: Progress | None = None,
) -> Walk:
    """Walk `candidates` through `plan`, whose positions count the bars behind their longest warm-up.

    Raises WorkFailed when an account is lost on the way.
    """
    # Every set trades the same symbols, so the rates of one are those of all.
    rates, _ = rates_of(candidates.strategies[0], bars, spec)
    tapes = _tapes(candidates, bars, spec, rates)
    scores, sharpes, daily = _try_all(tapes, candidates, bars, plan, objective, progress)
    _, direction = objective_of(objective)
    ranked = np.where(np.isnan(scores), -np.inf, direction * scores)
    winners = tuple(int(row) for row in ranked.argmax(axis=0))
    best = {row: tapes(row) for row in sorted(set(winners))}
    ways = tuple(_follow(way, winners, best, spec.capital) for way in plan.paths)
    tested = {
        key: segment for way, made in zip(plan.paths, ways, strict=True) for key, segment in zip(way, made, strict=True)
    }
    folds = tuple(
        _fold(number, plan, candidates, winners[number], scores, best[winners[number]], tested, objective)
        for number in range(len(plan.splits))
    )
    times = bars.index[candidates.warmup :]
    return Walk(
        candidates, plan, objective, scores, sharpes, winners, daily, folds, ways, times, bars.timeframe, bars.version
    )


def daily_returns(returns: Floats, times: pd.DatetimeIndex) -> pd.Series[float]:
    """Bar returns compounded per day (UTC); bars of a day or longer stay as they are."""
    days = times.as_unit("ms").asi8 // DAY
    first = np.flatnonzero(np.diff(days, prepend=days[:1] - 1))
    grown = np.add.reduceat(np.log(np.maximum(1 + returns, LOST)), first)
    return pd.Series(np.expm1(grown), to_index(days[first] * DAY), name="return")


def bars_a_year(timeframe: str) -> float:
    """How many bars of `timeframe` 365 days have."""
    return float(YEAR / pd.Timedelta(milliseconds=timeframe_millis(timeframe)))


def _tapes(candidates: Candidates, bars: Bars, spec: RunSpec, rates: Rates) -> Callable[[int], Tape]:
    return lambda row: Tape(candidates.strategies[row], bars, candidates.warmup, spec, rates)


def _try_all(
    tapes: Callable[[int], Tape],
    candidates: Candidates,
    bars: Bars,
    plan: Schedule,
    objective: str,
    progress: Progress | None,
) -> tuple[Floats, Floats, pd.DataFrame]:
    """Scores, Sharpe ratios and daily returns of every set. One set's targets are in memory at a time."""
    figure, _ = objective_of(objective)
    yearly, times = bars_a_year(bars.timeframe), bars.index[candidates.warmup :]
    spans = sorted({span for split in plan.splits for span in split.train})
    scores, sharpes = np.full((2, len(candidates), len(plan.splits)), np.nan)
    daily = []
    for row in range(len(candidates)):
        tape = tapes(row)
        seen = {span: tape.returns(span) for span in spans}
        for number, split in enumerate(plan.splits):
            returns = np.concatenate([seen[span] for span in split.train])
            scores[row, number], sharpes[row, number] = figure(returns, yearly), sharpe(returns, yearly)
        daily.append(daily_returns(tape.returns(Span(0, len(times))), times))
        if progress:
            progress(row + 1, len(candidates))
    return scores, sharpes, pd.concat(daily, axis=1, keys=range(len(candidates)))


def _follow(
    way: tuple[tuple[int, Span], ...], winners: tuple[int, ...], tapes: Mapping[int, Tape], capital: float
) -> tuple[Segment, ...]:
    """The tests of one way by the sets that were chosen for them, each with the money that the one before left."""
    made: list[Segment] = []
    for number, span in way:
        if not capital > 0:
            raise WorkFailed(f"the account was lost before fold {number + 1}; use less leverage or other parameters")
        made.append(tapes[winners[number]].trade(span, capital))
        capital = float(made[-1].equity.iloc[-1])
    return tuple(made)


def _fold(
    number: int,
    plan: Schedule,
    candidates: Candidates,
    winner: int,
    scores: Floats,
    tape: Tape,
    tested: Mapping[tuple[int, Span], Segment],
    objective: str,
) -> Fold:
    split = plan.splits[number]
    figure, _ = objective_of(objective)
    tests = np.concatenate([tested[number, span].returns for span in split.test])
    return Fold(
        params=candidates.sets[winner],
        train=split.train,
        test=split.test,
        train_figure=float(scores[winner, number]),
        test_figure=figure(tests, bars_a_year(candidates.strategies[winner].timeframe)),
        train_returns=np.concatenate([tape.returns(span) for span in split.train]),
        test_returns=tests,
    )
