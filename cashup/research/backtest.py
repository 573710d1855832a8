"""A backtest: bars from the lake, targets from the strategy, orders from the engine."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from cashup.markets.lake import Lake
from cashup.research.checks.glance import glance
from cashup.research.funding import Rates, by_bar, read_funding
from cashup.research.history import load_bars, priced, waiting
from cashup.research.kernel import NO_LEVELS, Terms
from cashup.research.recording.artefacts import store
from cashup.research.reporting.statistics import annualisation_of
from cashup.research.result import Result
from cashup.research.simulation import Scenario, Simulated, simulate
from cashup.research.spec import RunSpec, run_spec
from cashup.research.venue import on_venue
from cashup.settings import load_settings
from cashup.strategies.bars import Bars
from cashup.strategies.levels import distances
from cashup.strategies.strategy import Strategy
from cashup.strategies.symbols import is_contract

GLANCE_SHARE = 0.2
"""How much of a run's time the look for look-ahead may take beside it."""


class Backtest(Result):
    """What a strategy would have done with bars of the past; `data_version` names exactly these bars,
    and the funding and open interest that it used.

    `engine` says what simulated it (vectorbt, kernel, or replay with the venue's limits), `notes` what a reader of the
    figures should know, a sentence each.
    """

    title = "backtest"

    def __init__(
        self,
        strategy: Strategy,
        spec: RunSpec,
        data_version: str,
        scenario: Scenario,
        made: Simulated,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(
            equity=made.equity,
            orders=made.orders,
            close=scenario.bars.close,
            timeframe=strategy.timeframe,
            capital=spec.capital,
            funding=made.funding,
            bars=scenario.bars,
        )
        self.strategy = strategy
        self.spec = spec
        self.data_version = data_version
        self.engine = made.engine
        self.notes = [*notes, *_warnings(made.equity)]
        self.scenario = scenario

    @cached_property
    def buy_and_hold(self) -> Result:
        """The same bars with every symbol bought for an equal share at the first open, and kept; the same costs."""
        return self._beside(self.scenario.buying_and_holding())

    @cached_property
    def twice_costs(self) -> Result:
        """The same strategy with fees, slippage and funding doubled (and without the venue's limits)."""
        return self._beside(self.scenario.at_twice_the_costs())

    def beside(self) -> Mapping[str, Result]:
        """Buying and holding, and the same strategy at twice the costs."""
        return {"Buy and hold": self.buy_and_hold, "Twice the costs": self.twice_costs}

    def stats(self) -> pd.Series[Any]:
        """The figures of the run, with those of buying and holding and of twice the costs; see `Result.stats`."""
        own = super().stats()
        shown: dict[Any, Any] = {}
        for label, value in own.items():
            shown[label] = value
            if label == "Benchmark Return [%]":
                shown |= {f"{name} Return [%]": ratio * 100 for name, ratio in self._returns_beside().items()}
        return pd.Series(shown, name=own.name, dtype=object)

    def _returns_beside(self) -> dict[str, float]:
        """The total returns of what stands beside the run, as ratios."""
        runs = {"Buy and Hold": self.buy_and_hold, "Twice Costs": self.twice_costs}
        return {name: float(run.equity.iloc[-1] / run.capital - 1) for name, run in runs.items()}

    def facts(self) -> dict[str, str]:
        """What it was made of: data version, engine, run, and what the run was told."""
        told = {name: value for name, value in asdict(self.spec).items() if name != "result_path"}
        made = {"data_version": self.data_version, "engine": self.engine, "parameters": dict(self.strategy.params)}
        return {name: str(value) for name, value in (told | made).items() if value is not None}

    def _beside(self, scenario: Scenario) -> Result:
        made = simulate(scenario)
        return Result(
            equity=made.equity,
            orders=made.orders,
            close=self.close,
            timeframe=self.timeframe,
            capital=self.capital,
            funding=made.funding,
        )

    def to_json(self) -> dict[str, Any]:
        """The figures, and what they were made of."""
        return {
            "metrics": self.metrics() | _as_metrics(self._returns_beside()),
            "data_version": self.data_version,
            "engine": self.engine,
            "annualisation": annualisation_of(self.bar),
            "notes": list(self.notes),
            "symbols": list(self.strategy.symbols),
            "watch": list(self.strategy.watch),
            "universe": self.strategy.universe is not None,
            "timeframe": self.timeframe,
            "warmup": self.strategy.warmup,
            "bars": len(self.equity),
            "first_bar": self.equity.index[0].isoformat(),
            "last_bar": self.equity.index[-1].isoformat(),
        }


def run_backtest(strategy: Strategy, **arguments: Any) -> Backtest:
    """What `cu.run` does in research; `arguments` are those of `cu.run`.

    Raises DataError, NotebookError or UsageError, each with what to do.
    """
    spec = run_spec(**arguments)
    bars = bars_of(strategy, spec, Lake(load_settings().lake_path))
    begin = time.perf_counter()
    made = backtest(strategy, bars, spec)
    warn_of_looking_ahead(made, bars, GLANCE_SHARE * (time.perf_counter() - begin))
    if spec.result_path:
        path = Path(spec.result_path)
        store(path.parent, made)
        path.write_text(json.dumps(made.to_json()))
    return made


def warn_of_looking_ahead(made: Backtest, bars: Bars, seconds: float) -> None:
    """Add a note to `made`, and say it on stderr, when shorter histories change its targets."""
    found = glance(made.strategy, bars, seconds)
    if found is not None:
        made.notes.append(found)
        sys.stderr.write(f"cashup: {found}\n")


def bars_of(strategy: Strategy, spec: RunSpec, lake: Lake) -> Bars:
    """The bars that `spec` names, with the warm-up before them. Raises DataError when the lake lacks any."""
    return load_bars(lake, strategy, spec)


def backtest(strategy: Strategy, bars: Bars, spec: RunSpec, *, funding: Rates | None = None) -> Backtest:
    """Test `strategy` on `bars`, of which the first `strategy.warmup` are the warm-up.

    `funding` holds the rates of perpetuals; without it they come from the lake, when `spec.funding` wants them.
    """
    notes: list[str] = []
    if funding is None:
        funding, notes = rates_of(strategy, bars, spec)
    scenario = scenario_of(strategy, bars, spec, funding)
    made = on_venue(strategy, priced(bars), spec, scenario) if spec.venue_limits else simulate(scenario)
    return Backtest(strategy, spec, bars.version, scenario, made, notes)


def traded_bars(strategy: Strategy, bars: Bars) -> Bars:
    """The bars after the warm-up, as an engine takes them."""
    return priced(bars).rows(strategy.warmup, len(bars))


def scenario_of(
    strategy: Strategy, bars: Bars, spec: RunSpec, funding: Rates, *, traded: Bars | None = None
) -> Scenario:
    """What `spec` and `strategy` say about the bars after the warm-up (`traded`, when they are at hand)."""
    first = strategy.warmup
    traded = traded_bars(strategy, bars) if traded is None else traded
    stops = {name: grid if len(grid) == 1 else grid[first:] for name, grid in distances(strategy, bars).items()}
    return Scenario(
        bars=traded,
        targets=traded.frame(waiting(strategy.target_values(bars)[first:], bars, first)),
        terms=Terms(
            fee=spec.fee,
            maker_fee=spec.fee if spec.maker_fee is None else spec.maker_fee,
            slippage=spec.slippage,
            leverage=strategy.leverage,
            rebalance=math.inf if strategy.rebalance is None else strategy.rebalance,
        ),
        capital=spec.capital,
        levels=NO_LEVELS._replace(**stops),
        funding=by_bar(funding, traded, strategy.bar_millis),
    )


def rates_of(strategy: Strategy, bars: Bars, spec: RunSpec) -> tuple[Rates, list[str]]:
    """The funding rates of the strategy's perpetuals, as far as `spec` wants them and the lake has them, with notes."""
    if not spec.funding or not any(is_contract(symbol) for symbol in strategy.symbols):
        return {}, []
    lake = Lake(load_settings().lake_path)
    end = int(bars.times[-1]) + strategy.bar_millis
    return read_funding(lake, spec.exchange, strategy.symbols, int(bars.times[0]), end, version=spec.data_version)


def _as_metrics(returns: dict[str, float]) -> dict[str, float]:
    return {f"{name.lower().replace(' ', '_')}_return": ratio for name, ratio in returns.items()}


def _warnings(equity: pd.Series[float]) -> list[str]:
    gone = equity.to_numpy() <= 0
    if not gone.any():
        return []
    return [
        f"the equity is used up at {equity.index[int(gone.argmax())]:%Y-%m-%d %H:%M}: a venue would have liquidated "
        "the positions before that, which a backtest does not simulate"
    ]
