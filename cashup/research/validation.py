"""The validation of one backtest: would chance have done as well, and what else could have happened?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cashup.errors import UsageError
from cashup.research.backtest import Backtest, backtest
from cashup.research.deflated import Deflated, deflated_sharpe, min_backtest_years
from cashup.research.montecarlo import MonteCarlo, monte_carlo_bars, monte_carlo_returns, monte_carlo_trades
from cashup.research.page import Section, page
from cashup.research.result import Result
from cashup.research.significance import Significance, signal_significance
from cashup.research.spec import RunSpec
from cashup.research.walk import bars_a_year, daily_returns
from cashup.strategies.bars import Bars
from cashup.strategies.strategy import Strategy

if TYPE_CHECKING:
    from cashup.strategies.registry import Trial

YEAR_OF_DAYS = 365


@dataclass(frozen=True)
class Validation:
    """Every test of one backtest. A test that could not be made is None, and `notes` says why.

    `significance`: the signal against chance. `deflated`: the Sharpe ratio after `trials` tries were counted.
    `shuffled`, `resampled`: the trades in other orders, and drawn anew. `returns`, `histories`: the bar returns in
    blocks, and the strategy run again on bars in blocks. `min_years`: the years below which so many tries are expected
    to show a yearly Sharpe ratio of 1 by luck.
    """

    run: Backtest
    significance: Significance | None
    deflated: Deflated | None
    shuffled: MonteCarlo | None
    resampled: MonteCarlo | None
    returns: MonteCarlo | None
    histories: MonteCarlo | None
    trials: int
    min_years: float
    seed: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything but the series; None for a test that could not be made."""
        tests = ("significance", "deflated", "shuffled", "resampled", "returns", "histories")
        made = {name: getattr(self, name) for name in tests}
        return {
            "metrics": self.run.metrics(),
            **{name: test.to_json() if test is not None else None for name, test in made.items()},
            "trials": self.trials,
            "min_backtest_years": self.min_years,
            "years": len(self.run.equity) / bars_a_year(self.run.timeframe),
            "seed": self.seed,
            "notes": list(self.notes),
            "data_version": self.run.data_version,
        }

    def html(self, title: str) -> str:
        """The report as one HTML file."""
        first, last = self.run.equity.index[0], self.run.equity.index[-1]
        sections = [*_signal(self), *_sharpe(self), *_monte_carlo(self)]
        if self.notes:
            sections.append(Section("Not tested", " ".join(self.notes)))
        return page(title, f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC, seed {self.seed}", sections)


def validate(
    strategy: Strategy,
    bars: Bars,
    spec: RunSpec,
    *,
    trials: Sequence[Trial] = (),
    samples: int = 1_000,
    histories: int = 100,
    block: float | None = None,
    seed: int = 0,
) -> Validation:
    """Backtest `strategy` on `bars` (warm-up first) and test what comes out.

    `trials` are all that the registry has counted for the notebook; `samples` are drawn of everything cheap,
    `histories` of resampled bars, on each of which the strategy runs again. `block` is the mean length of blocks in
    bars (default: as the returns' memory asks).
    """
    run = backtest(strategy, bars, spec)
    notes: list[str] = []

    def tried(what: str, test: Any) -> Any:
        try:
            return test()
        except UsageError as error:
            notes.append(f"{what}: {error}.")
            return None

    targets = strategy.targets(bars).iloc[strategy.warmup :]
    return Validation(
        run=run,
        significance=tried(
            "Signal", lambda: signal_significance(targets, bars, samples=samples, block=block, seed=seed)
        ),
        deflated=tried("Deflated Sharpe", lambda: deflated_of(run, trials)),
        shuffled=tried("Trade shuffle", lambda: monte_carlo_trades(run, samples=samples, seed=seed)),
        resampled=tried(
            "Trade resampling", lambda: monte_carlo_trades(run, method="resample", samples=samples, seed=seed)
        ),
        returns=tried("Returns", lambda: monte_carlo_returns(run, samples=samples, block=block, seed=seed)),
        histories=tried(
            "Bars",
            lambda: monte_carlo_bars(strategy, bars, spec, samples=histories, block=block, seed=seed, observed=run),
        ),
        trials=max(len(trials), 1),
        min_years=min_backtest_years(max(len(trials), 1)),
        seed=seed,
        notes=tuple(notes),
    )


def deflated_of(run: Result, trials: Sequence[Trial]) -> Deflated:
    """The deflated Sharpe ratio of the daily returns of `run` after the counted `trials` of its notebook.

    The trials' yearly ratios (their figure `sharpe`) are taken to days by sqrt(365), whatever their timeframe was. A
    trial without a ratio counts in their number. Raises UsageError when the run never changes, or when several trials
    have fewer than two ratios among them.
    """
    own = daily_returns(
        run.equity.to_numpy() / np.append(run.capital, run.equity.to_numpy()[:-1]) - 1,
        pd.DatetimeIndex(run.equity.index),
    )
    known = [trial.metrics.get("sharpe") for trial in trials]
    daily = [math.nan if ratio is None else float(ratio) / math.sqrt(YEAR_OF_DAYS) for ratio in known]
    return deflated_sharpe(own, daily or [math.nan])


def _signal(made: Validation) -> list[Section]:
    if made.significance is None:
        return []
    text = (
        f"The signal's mean return per bar, without costs and without the market's trend, would come about by chance "
        f"with a probability of {made.significance.p_value:.3f}."
    )
    return [Section("Signal", text, picture=made.significance.plot())]


def _sharpe(made: Validation) -> list[Section]:
    if made.deflated is None:
        return []
    text = (
        f"{made.trials} sets of parameters were tried. The probability that the true Sharpe ratio is above what luck "
        f"gives after so many is {made.deflated.dsr:.1%}; that it is above 0, {made.deflated.psr:.1%}. Luck is "
        f"expected to show a yearly ratio of 1 on anything shorter than {made.min_years:.1f} years."
    )
    year = math.sqrt(YEAR_OF_DAYS)
    figures = {
        "Sharpe ratio (yearly, of daily returns)": made.deflated.sharpe * year,
        "What luck gives at best (yearly)": made.deflated.expected_max * year,
        "Skew, kurtosis (3: normal)": f"{made.deflated.skew:.2f}, {made.deflated.kurtosis:.2f}",
        "Days": made.deflated.observations,
        "Days it takes to be 95 % sure of more than 0": made.deflated.min_track_record,
    }
    return [Section("Sharpe ratio", text, figures=figures)]


def _monte_carlo(made: Validation) -> list[Section]:
    names = {
        "shuffled": "The same trades in other orders",
        "resampled": "Trades drawn anew",
        "returns": "The account's returns in blocks",
        "histories": "The strategy on other histories",
    }
    sections = []
    for name, title in names.items():
        test: MonteCarlo | None = getattr(made, name)
        if test is not None:
            text = (
                f"The drawdown was {test.observed_drawdown:.1%}; in half of the runs it is above "
                f"{test.drawdown(50):.1%}, in one of twenty above {test.drawdown(95):.1%}. "
                f"{test.loss_probability:.0%} of the runs lose money."
            )
            sections.append(Section(title, text, picture=test.plot()))
    return sections
