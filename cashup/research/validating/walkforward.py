"""Walk-forward: parameters chosen on one time, judged on the next, and the judged times joined to one account.

Every set is tried on every train window; the best by the objective trades the test, whose bars it has not seen. Tests
begin and end flat and pay for both (`segments.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cashup.clock import WallClock
from cashup.errors import DataError, UsageError
from cashup.markets.lake import Lake
from cashup.research.history import load_bars
from cashup.research.result import Result
from cashup.research.spec import RunSpec, run_spec
from cashup.research.sweeping.judge import Trial
from cashup.research.sweeping.tally import count
from cashup.research.validating.candidates import Candidates, Load, load_candidates, loader_of, sets_of
from cashup.research.validating.deflated import Deflated, deflated_sharpe
from cashup.research.validating.overfitting import Overfitting, probability_of_overfitting
from cashup.research.validating.schedule import schedule
from cashup.research.validating.scoring import objective as objective_of
from cashup.research.validating.scoring import sharpe
from cashup.research.validating.walk import Progress, Walk, bars_a_year, daily_returns, walk
from cashup.settings import load_settings
from cashup.strategies.bars import Bars
from cashup.strategies.registry import new_run_id
from cashup.strategies.strategy import Strategy

if TYPE_CHECKING:
    import plotly.graph_objects as go


class WalkForward(Result):
    """The account that the tests make, one after the other: `stats()`, `plot()`, `trades`, `orders` as of any run.

    `folds` has a row per split, `trials` one per set and train window. `paths` are the whole ways through the time,
    time x way in quote currency: combinatorial splits have several, and this account is the one with the median Sharpe
    ratio. `daily` are the daily returns of every set over the whole time, which `overfitting` and `deflated` look at.
    `invalid` lists the sets that the notebook refused, with the reason.
    """

    title = "walk-forward"

    def __init__(self, made: Walk) -> None:
        self.walk = made
        self.paths = _paths(made)
        yearly = bars_a_year(made.timeframe)
        ratios = [sharpe(np.concatenate([part.returns for part in way]), yearly) for way in made.ways]
        self.path_sharpes = ratios
        chosen = made.ways[_median(ratios)]
        super().__init__(
            equity=pd.concat([part.equity for part in chosen]),
            orders=pd.concat([part.orders for part in chosen], ignore_index=True),
            close=pd.concat([part.close for part in chosen]),
            timeframe=made.timeframe,
            capital=chosen[0].capital,
            funding=pd.concat([part.funding for part in chosen], ignore_index=True),
        )
        self.seams = [part.close.index[0] for part in chosen]
        self.daily = made.daily
        self.invalid = made.candidates.invalid
        self.data_version = made.data_version

    @cached_property
    def folds(self) -> pd.DataFrame:
        """Per split: first and last train and test bar (UTC), the chosen parameters, the objective in both."""
        rows, times, name = [], self.walk.times, self.walk.objective
        for fold in self.walk.folds:
            window = {
                "train_start": times[fold.train[0].start],
                "train_end": times[fold.train[-1].stop - 1],
                "test_start": times[fold.test[0].start],
                "test_end": times[fold.test[-1].stop - 1],
            }
            figures = {f"train_{name}": fold.train_figure, f"test_{name}": fold.test_figure}
            rows.append(window | dict(fold.params) | figures)
        return pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1, name="fold"))

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Per train window (from 1) and set: the parameters, the objective and the Sharpe ratio, and whether it won.

        Figures are NaN where the set never traded.
        """
        rows = []
        for fold, winner in enumerate(self.walk.winners):
            for row, params in enumerate(self.walk.candidates.sets):
                figures = {"sharpe": self.walk.sharpes[row, fold], self.walk.objective: self.walk.scores[row, fold]}
                rows.append({"fold": fold + 1, **params, **figures, "chosen": row == winner})
        return pd.DataFrame(rows)

    def tried(self, params: Mapping[str, Any]) -> list[Trial]:
        """The trials as the registry counts them; `params` are those that all of them had."""
        made: list[Trial] = []
        for fold in range(len(self.walk.plan.splits)):
            for row, chosen in enumerate(self.walk.candidates.sets):
                figures = {self.walk.objective: self.walk.scores[row, fold], "sharpe": self.walk.sharpes[row, fold]}
                metrics = {"fold": float(fold + 1)} | {name: _plain(value) for name, value in figures.items()}
                made.append(Trial(len(made), dict(params) | dict(chosen), "ok", metrics))
        return made

    @cached_property
    def efficiency(self) -> float:
        """Yearly log growth of the tests over that of the chosen sets' train windows; NaN when those did not grow.

        Walk-forward efficiency: Pardo, "The Evaluation and Optimization of Trading Strategies", Wiley 2008, chapter 11.
        """
        tested, trained = (
            float(np.log1p(np.concatenate([getattr(fold, side) for fold in self.walk.folds])).mean())
            for side in ("test_returns", "train_returns")
        )
        return tested / trained if trained > 0 else float("nan")

    @cached_property
    def stability(self) -> pd.DataFrame:
        """Per parameter: how many values were chosen, the commonest and its share of folds, mean and deviation."""
        chosen = pd.DataFrame([dict(fold.params) for fold in self.walk.folds])
        return pd.DataFrame.from_dict({name: _spread(chosen[name]) for name in chosen}, orient="index")

    @cached_property
    def overfitting(self) -> Overfitting | None:
        """PBO over the daily returns of all sets; None when there are too few sets or days."""
        blocks = min(16, len(self.daily) // 8 * 2)
        if self.daily.shape[1] < 2 or blocks < 4:
            return None
        return probability_of_overfitting(self.daily.to_numpy(), blocks)

    @cached_property
    def deflated(self) -> Deflated | None:
        """The Sharpe ratio of this account's daily returns after all the sets of the grid; None when it has none."""
        before = np.append(self.capital, self.equity.to_numpy()[:-1])
        own = daily_returns(self.equity.to_numpy() / before - 1, pd.DatetimeIndex(self.equity.index))
        tried = (self.daily.mean() / self.daily.std(ddof=1)).to_numpy(dtype=np.float64)
        try:
            return deflated_sharpe(own, tried)
        except UsageError:
            return None

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        efficiency = "-" if np.isnan(self.efficiency) else f"{self.efficiency:.0%}"
        said = f"{len(self.walk.candidates)} sets on {len(self.walk.folds)} folds; efficiency {efficiency}"
        if self.overfitting is not None:
            said += f"; probability of overfitting {self.overfitting.probability:.0%}"
        if self.deflated is not None:
            said += f"; deflated Sharpe {self.deflated.dsr:.0%}"
        return f"{said}."

    def to_json(self) -> dict[str, Any]:
        """Everything but the series: ratios instead of percent, None where there is no figure."""
        plan = self.walk.plan
        return {
            "scheme": plan.scheme,
            "objective": self.walk.objective,
            "purge": plan.purge,
            "embargo": plan.embargo,
            "folds": _records(self.folds.reset_index()),
            "metrics": self.metrics(),
            "efficiency": _plain(self.efficiency),
            "stability": _records(self.stability.rename_axis("parameter").reset_index()),
            "sets": len(self.walk.candidates),
            "trials": len(self.trials),
            "invalid": [{"params": dict(params), "reason": reason} for params, reason in self.invalid],
            "paths": [
                {"sharpe": _plain(ratio), "total_return": float(self.paths[way].iloc[-1] / self.capital - 1)}
                for way, ratio in zip(self.paths, self.path_sharpes, strict=True)
            ],
            "overfitting": self.overfitting.to_json() if self.overfitting else None,
            "deflated": self.deflated.to_json() if self.deflated else None,
            "data_version": self.data_version,
        }

    def plot(self, kind: str = "walk", **options: Any) -> go.Figure:
        """A still picture; `walk`: the stitched equity with its seams, and every fold's objective in train and test.

        Other kinds are those of any run.
        """
        if kind != "walk":
            return super().plot(kind, **options)
        from cashup.research.validating.pictures import walked

        title = f"{', '.join(map(str, self.close.columns))} {self.timeframe}, walk-forward ({self.walk.plan.scheme})"
        return walked(self.paths, self.equity, self.seams, self.folds, self.walk.objective, title=title)


def walk_forward(
    candidates: Candidates,
    bars: Bars,
    spec: RunSpec,
    *,
    scheme: str = "rolling",
    objective: str = "sharpe",
    progress: Progress | None = None,
    **lengths: Any,
) -> WalkForward:
    """Walk `candidates` over `bars`, of which the first ones (their longest warm-up) are history only.

    `lengths` are those of `schedule`: train, test, folds, tests, purge, embargo. Raises UsageError for lengths that do
    not fit, and WorkFailed when the account is lost.
    """
    objective_of(objective)
    if spec.venue_limits:
        raise UsageError("a walk-forward trades any fraction of a coin; leave the venue's limits to a single backtest")
    decisions = len(bars) - candidates.warmup
    if decisions < 2:
        raise DataError(f"{len(bars)} bars are too few for a warm-up of {candidates.warmup}; take a longer time")
    plan = schedule(scheme, decisions, bars.timeframe, **lengths)
    return WalkForward(walk(candidates, bars, spec, plan, objective, progress))


def walkforward(
    strategy: Load | Strategy | str | Path,
    grid: Mapping[str, Iterable[Any]],
    *,
    params: Mapping[str, Any] | None = None,
    scheme: str = "rolling",
    train: str | int | None = None,
    test: str | int | None = None,
    folds: int | None = None,
    tests: int = 2,
    purge: str | int = 0,
    embargo: str | float = 0,
    objective: str = "sharpe",
    **how: Any,
) -> WalkForward:
    """Choose parameters on one time and judge them on the next, over and over; every trial is counted.

    `strategy` is a notebook's path, a `Strategy`, or a function that makes one of a dict of parameters; `grid` maps
    parameters to the values to try, `params` sets others. `scheme` is `rolling`, `expanding`, `kfold` or `cpcv`;
    `train`, `test`, `purge` and `embargo` are bars or durations such as `"180d"`. `how` is as in `cu.run`: exchange,
    start, end, capital, fee, slippage, maker_fee, funding, data_version.

    Returns a `WalkForward`: the account of the tests with `stats() plot() trades`, and `folds`, `trials`, `efficiency`,
    `stability`, `overfitting`, `deflated`. Raises UsageError for lengths that do not fit the bars.
    """
    spec = run_spec(**how)
    candidates = load_candidates(loader_of(strategy, params), sets_of(grid))
    lengths: dict[str, Any] = {
        "train": train,
        "test": test,
        "folds": folds,
        "tests": tests,
        "purge": purge,
        "embargo": embargo,
    }
    made = walk_forward(candidates, bars_for(candidates, spec), spec, scheme=scheme, objective=objective, **lengths)
    source = Path(strategy) if isinstance(strategy, str) else strategy
    count(source, new_run_id(WallClock().now()), made.tried(params or {}))
    return made


def bars_for(candidates: Candidates, spec: RunSpec) -> Bars:
    """The bars of the lake that `spec` names, with the longest warm-up of `candidates` before them."""
    lake = Lake(load_settings().lake_path)
    return load_bars(lake, candidates.strategies[0], spec, warmup=candidates.warmup)


def _paths(made: Walk) -> pd.DataFrame:
    equities = [pd.concat([part.equity for part in way]) for way in made.ways]
    return pd.concat(equities, axis=1, keys=range(1, len(equities) + 1))


def _median(ratios: list[float]) -> int:
    """The position of the median (the lower of two); what has no ratio counts as the lowest."""
    order = np.argsort(np.nan_to_num(ratios, nan=-np.inf), kind="stable")
    return int(order[(len(order) - 1) // 2])


def _spread(chosen: pd.Series[Any]) -> dict[str, Any]:
    names = chosen.map(repr)
    common = names.value_counts().index[0]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in chosen.tolist())
    values = chosen.to_numpy(dtype=np.float64) if numeric else np.array([np.nan])
    return {
        "distinct": int(names.nunique()),
        "commonest": chosen[names == common].iloc[0],
        "share": float((names == common).mean()),
        "mean": float(values.mean()),
        "deviation": float(values.std()),
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    """A cell as JSON has it."""
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
