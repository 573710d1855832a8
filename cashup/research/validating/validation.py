"""The validation of one backtest: would chance have done as well, and what else could have happened?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cashup.errors import DataError, UsageError
from cashup.markets.lake import Lake
from cashup.research.backtest import Backtest, bars_of
from cashup.research.reporting.page import Section, page
from cashup.research.result import Result
from cashup.research.validating.deflated import Deflated, deflated_sharpe, min_backtest_years
from cashup.research.validating.montecarlo import MonteCarlo, monte_carlo_bars, monte_carlo_returns, monte_carlo_trades
from cashup.research.validating.significance import Significance, signal_significance
from cashup.research.validating.walk import bars_a_year, daily_returns
from cashup.settings import load_settings
from cashup.strategies.bars import Bars

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

    def __repr__(self) -> str:
        p_value = "-" if self.significance is None else f"{self.significance.p_value:.3f}"
        dsr = "-" if self.deflated is None else f"{self.deflated.dsr:.0%}"
        return f"<Validation of {self.run!r}: signal p = {p_value}, deflated Sharpe {dsr} after {self.trials} trials>"

    def save(self, path: str | Path) -> Path:
        """Write the report to `path` as one HTML file that needs nothing else; the path."""
        Path(path).write_text(self.html("Validation"))
        return Path(path)

    def html(self, title: str) -> str:
        """The report as one HTML file."""
        first, last = self.run.equity.index[0], self.run.equity.index[-1]
        sections = [*_signal(self), *_sharpe(self), *_monte_carlo(self)]
        if self.notes:
            sections.append(Section("Not tested", " ".join(self.notes)))
        return page(title, f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC, seed {self.seed}", sections)


def validate(
    run: Backtest,
    bars: Bars | None = None,
    *,
    trials: Sequence[Trial] = (),
    samples: int = 1_000,
    histories: int = 100,
    block: float | None = None,
    seed: int = 0,
) -> Validation:
    """Test a backtest against chance: its signal, its Sharpe ratio, its trades, its returns, other histories.

    `bars` are those that it ran on, warm-up first (default: from the lake). `trials` are all that the registry has
    counted for the notebook; `cashup validate` takes them from there (none: this run alone). `samples` are drawn of
    everything cheap, `histories` of resampled bars, on each of which the strategy runs again. `block` is the mean
    length of blocks in bars (default: as the returns' memory asks).
    """
    strategy = run.strategy
    known = _bars_of(run) if bars is None else bars
    notes: list[str] = []

    def tried(what: str, test: Any) -> Any:
        try:
            return test()
        except UsageError as error:
            notes.append(f"{what}: {error}.")
            return None

    targets = strategy.targets(known).iloc[strategy.warmup :]
    return Validation(
        run=run,
        significance=tried(
            "Signal", lambda: signal_significance(targets, known, samples=samples, block=block, seed=seed)
        ),
        deflated=tried("Deflated Sharpe", lambda: deflated_of(run, trials)),
        shuffled=tried("Trade shuffle", lambda: monte_carlo_trades(run, samples=samples, seed=seed)),
        resampled=tried(
            "Trade resampling", lambda: monte_carlo_trades(run, method="resample", samples=samples, seed=seed)
        ),
        returns=tried("Returns", lambda: monte_carlo_returns(run, samples=samples, block=block, seed=seed)),
        histories=tried(
            "Bars",
            lambda: monte_carlo_bars(
                strategy, known, run.spec, samples=histories, block=block, seed=seed, observed=run
            ),
        ),
        trials=max(len(trials), 1),
        min_years=min_backtest_years(max(len(trials), 1)),
        seed=seed,
        notes=tuple(notes),
    )


def _bars_of(run: Backtest) -> Bars:
    bars = bars_of(run.strategy, run.spec, Lake(load_settings().lake_path))
    if bars.version != run.data_version:
        raise DataError("the lake has other bars now than this run saw; run the backtest again, or name its bars")
    return bars


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
                f"{test.drawdown(50):.1%}, in one of twenty above {test.drawdown(95):.1%}."
            )
            if test.unit == "trades":
                text += " Drawdowns are those at exits."
            if name != "shuffled":  # which ends where it ended
                text += f" {test.loss_probability:.0%} of the runs lose money."
            sections.append(Section(title, text, picture=test.plot()))
    return sections
