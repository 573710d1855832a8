"""The judge: one parameter set in, one trial out. It keeps the bars, so that the next set finds them."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from copy import copy
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cashup.errors import CashUpError, DataError
from cashup.markets.lake import Lake
from cashup.research.backtest import backtest, bars_of, rates_of, scenario_of, traded_bars
from cashup.research.funding import Rates
from cashup.research.history import priced
from cashup.research.kernel import Figures, Outcome, Terms, carry_out, prices_of
from cashup.research.reporting.statistics import YEAR
from cashup.research.rule import check_long_only
from cashup.research.simulation import Scenario
from cashup.research.spec import RunSpec
from cashup.research.sweeping.lane import Course, course_of, figures, fits
from cashup.research.validating.candidates import loader_of
from cashup.research.validating.scoring import sortino
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy

OK, INVALID, FAILED = "ok", "invalid", "failed"

MOST_MARKETS = 2
"""How many markets' bars a judge keeps: a grid over symbols goes through them one after the other."""


@dataclass(frozen=True)
class Task:
    """What a sweep asks of every set; it travels to the processes that work.

    `source` is a notebook's path, a strategy or a function of the parameters; `params` are fixed. `history` is how many
    bars before the start every set sees, at least. `whole`: also the figures that need the whole equity (sortino).
    """

    source: Path | Strategy | Callable[[Mapping[str, Any]], Strategy]
    spec: RunSpec
    lake: Path | str
    params: Mapping[str, Any] = field(default_factory=dict)
    history: int = 0
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """A set that was tried. `metrics` are ratios and quote currency; `status` is ok, invalid or failed, with a reason.

    Invalid: the notebook refused the set (an assertion, a contract). Failed: its target function or its bars did.
    """

    number: int
    params: Mapping[str, Any]
    status: str
    metrics: Mapping[str, float | None]
    reason: str = ""
    engine: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a line of the trials' file."""
        return asdict(self)


@dataclass(frozen=True)
class Market:
    """Bars that several sets share, with the funding rates of their time."""

    bars: Bars
    rates: Rates
    traded: dict[int, Bars] = field(default_factory=dict)  # by warm-up

    def after(self, strategy: Strategy) -> Bars:
        """The bars after the strategy's warm-up, made once: every set with that warm-up trades the same ones."""
        if strategy.warmup not in self.traded:
            self.traded[strategy.warmup] = traded_bars(strategy, self.bars)
        return self.traded[strategy.warmup]

    @cached_property
    def course(self) -> Course | None:
        """What the fast lane takes of the bars, the warm-up included; None when it cannot take them."""
        return course_of(priced(self.bars))


class Judge:
    """Tries sets one after the other."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._load = loader_of(task.source, task.params)
        self._lake = Lake(task.lake)
        self._markets: dict[Any, Market] = {}

    def trial(self, number: int, params: Mapping[str, Any]) -> Trial:
        """Try one set; what goes wrong in it is its result."""
        try:
            strategy = self.strategy(params)
        except CashUpError as error:
            return Trial(number, params, INVALID, {}, str(error))
        except Exception as error:  # noqa: BLE001  an author's function made it, or did not
            return Trial(number, params, INVALID, {}, f"{type(error).__name__}: {error}")
        try:
            metrics, engine = self._figures(strategy)
        except CashUpError as error:
            return Trial(number, params, FAILED, {}, str(error))
        except Exception as error:  # noqa: BLE001  the author's target: anything can come, and it is reported
            return Trial(number, params, FAILED, {}, f"{strategy.name}() raised {type(error).__name__}: {error}")
        return Trial(number, params, OK, metrics, engine=engine)

    def strategy(self, params: Mapping[str, Any]) -> Strategy:
        """The strategy of a set, seeing as many bars before the start as all others. Its prints are dropped."""
        with redirect_stderr(io.StringIO()):
            return self.told(self._load(params))

    def told(self, strategy: Strategy) -> Strategy:
        """`strategy` with the history that all sets have as its warm-up."""
        if strategy.warmup >= self.task.history:
            return strategy
        longer = copy(strategy)
        longer.warmup = self.task.history
        return longer

    def market(self, strategy: Strategy) -> Market:
        """The bars of a strategy's market, from the lake the first time."""
        watch = getattr(strategy, "watch", ())
        # Without a start the first bars are the warm-up, so every warm-up has the same bars.
        key = (strategy.symbols, tuple(watch), strategy.timeframe, strategy.warmup if self.task.spec.start else None)
        if key not in self._markets:
            while len(self._markets) >= MOST_MARKETS:
                del self._markets[next(iter(self._markets))]
            bars = bars_of(strategy, self.task.spec, self._lake)
            rates, _ = rates_of(strategy, bars, self.task.spec)
            self._markets[key] = Market(bars, rates)
        return self._markets[key]

    def equity(self, params: Mapping[str, Any]) -> pd.Series[float]:
        """The equity of a set at each close, quote currency."""
        scenario = self._scenario(self.strategy(params))
        return pd.Series(_pass(scenario, keep=True).equity, scenario.bars.index, name="equity")

    def _figures(self, strategy: Strategy) -> tuple[dict[str, float | None], str]:
        if self.task.spec.venue_limits:  # lots and minimums are the trading code's, not the kernel's
            market = self.market(strategy)
            made = backtest(strategy, market.bars, self.task.spec, funding=market.rates)
            return {
                name: None if value is None else float(value) for name, value in made.metrics().items()
            }, made.engine
        yearly = float(YEAR / pd.Timedelta(milliseconds=strategy.bar_millis))
        quick = self._quickly(strategy)
        if quick is not None:
            return metrics(quick, len(self.market(strategy).bars) - strategy.warmup, yearly), "kernel"
        scenario = self._scenario(strategy)
        check_long_only(scenario.targets, scenario.bars)  # the lane takes no target below zero
        outcome = _pass(scenario, keep=self.task.whole)
        found = metrics(outcome.figures, len(scenario.bars), yearly)
        if self.task.whole:
            before = np.append(scenario.capital, outcome.equity[:-1])
            found["sortino"] = _finite(sortino(outcome.equity / before - 1, yearly))
        return found, "kernel"

    def _quickly(self, strategy: Strategy) -> Figures | None:
        """The figures from the fast lane, None when it cannot take the set."""
        market = self._enough(strategy)
        if self.task.whole or market.course is None or not fits(strategy):
            return None
        wanted = strategy.wanted(market.bars)[strategy.warmup :, 0]
        terms = Terms(fee=self.task.spec.fee, slippage=self.task.spec.slippage)
        return figures(wanted, market.course.since(strategy.warmup), terms, self.task.spec.capital)

    def _enough(self, strategy: Strategy) -> Market:
        market = self.market(strategy)
        if len(market.bars) <= strategy.warmup:
            raise DataError(
                f"{len(market.bars)} bars are too few for a warm-up of {strategy.warmup}; take a longer time"
            )
        return market

    def _scenario(self, strategy: Strategy) -> Scenario:
        market = self._enough(strategy)
        traded = market.after(strategy)
        return scenario_of(strategy, market.bars, self.task.spec, market.rates, traded=traded)


def metrics(figures: Figures, bars: int, bars_a_year: float) -> dict[str, float | None]:
    """The figures that `statistics.py` would give, from the kernel's sums; None where there is none.

    The variance of n returns is (sum of squares - sum^2 / n) / (n - 1); 365 days make a year.
    """
    mean = figures.sum_returns / bars
    variance = (figures.sum_squares - figures.sum_returns * mean) / (bars - 1) if bars > 1 else 0.0
    total = figures.total_return
    cagr = float((1 + total) ** (bars_a_year / bars) - 1) if total > -1 else -1.0
    worst = figures.max_drawdown
    return {
        "sharpe": _finite(mean * math.sqrt(bars_a_year) / math.sqrt(variance)) if variance > 0 else None,
        "total_return": total,
        "cagr": _finite(cagr),
        "calmar": _finite(cagr / worst) if worst > 0 else None,
        "max_drawdown": worst,
        "trades": figures.trades,
        "exposure": figures.exposed / bars,
        "fees": figures.fees,
        "final_equity": figures.final_equity,
    }


def _pass(scenario: Scenario, *, keep: bool) -> Outcome:
    return carry_out(
        prices_of(scenario.bars),
        scenario.targets.to_numpy(),
        scenario.terms,
        scenario.levels,
        scenario.funding,
        capital=scenario.capital,
        keep=keep,
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
