"""What a sweep found: the table of trials, the best of them, and what to think of it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cashup.errors import UsageError, WorkFailed
from cashup.research.sweeping.condition import Condition
from cashup.research.sweeping.judge import FAILED, INVALID, OK, Judge, Trial
from cashup.research.sweeping.objective import objectives
from cashup.research.sweeping.plan import Plan, folder_of
from cashup.research.sweeping.plateau import Plateau, plateau_of
from cashup.research.sweeping.triallog import table
from cashup.research.validating.deflated import Deflated, deflated_sharpe

if TYPE_CHECKING:
    import plotly.graph_objects as go

DAYS = 365


class Sweep:
    """The trials of a sweep.

    `frame`: one row per trial, by number: the parameters, `status` (ok, invalid, failed), the figures (ratios and quote
    currency), `engine`, `reason`, and `feasible` when there are constraints. `folder` holds the same as files.
    """

    def __init__(self, trials: Sequence[Trial], plan: Plan, judge: Judge) -> None:
        self.trials = trials
        self.plan = plan
        self.parameters = list(plan.ranges)
        self.objectives = list(objectives(list(plan.objectives)))
        self.conditions = [Condition(text) for text in plan.constraints]
        self.folder = folder_of(str(plan.spec.run_id))
        self._judge = judge

    @property
    def run_id(self) -> str:
        """What the registry knows it by."""
        return str(self.plan.spec.run_id)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Every trial."""
        made = table(self.trials, self.parameters)
        for objective in self.objectives:
            if objective.figure not in made:
                made[objective.figure] = np.nan
        if self.conditions:
            known = [{**trial.params, **trial.metrics} for trial in self.trials]
            holds = [all(condition.holds(one) for condition in self.conditions) for one in known]
            made.insert(len(self.parameters) + 1, "feasible", np.array(holds, dtype=bool))
        return made

    @cached_property
    def ranked(self) -> pd.DataFrame:
        """The trials that have the objective and meet the constraints, the best first; equals by number."""
        objective = self.objectives[0]
        made = self.frame[self.frame[objective.figure].notna()]
        made = made[made["feasible"]] if "feasible" in made else made
        return made.iloc[np.argsort(-objective.direction * made[objective.figure].to_numpy(), kind="stable")]

    @property
    def best(self) -> Trial:
        """The best trial by the first objective: its `params` and `metrics`. Raises WorkFailed when there is none."""
        if self.ranked.empty:
            raise WorkFailed(f"none of {len(self.trials)} trials came to a result{self._commonest_reason()}")
        return self._by_number[int(self.ranked.index[0])]

    @cached_property
    def front(self) -> pd.DataFrame:
        """The trials that no other one beats in every objective (Pareto); with one objective the best."""
        values = np.stack([-one.direction * self.ranked[one.figure].to_numpy() for one in self.objectives], axis=1)
        keep = [not bool(((values <= row).all(axis=1) & (values < row).any(axis=1)).any()) for row in values]
        return self.ranked[np.array(keep, dtype=bool)]

    @cached_property
    def robust(self) -> Plateau | None:
        """The best plateau beside the peak; None for too few trials."""
        objective = self.objectives[0]
        return plateau_of(self.ranked.sort_index(), self.parameters, objective.figure, objective.direction)

    @cached_property
    def deflated(self) -> Deflated | None:
        """The best trial's Sharpe ratio of daily returns after this many trials; None when it has none."""
        from cashup.research.validating.walk import daily_returns

        ratios = self.frame["sharpe"].dropna().to_numpy() if "sharpe" in self.frame else np.array([])
        if len(ratios) < 2 or self.ranked.empty:
            return None
        equity = self._judge.equity(self.best.params)
        before = np.append(self.plan.spec.capital, equity.to_numpy()[:-1])
        daily = daily_returns(equity.to_numpy() / before - 1, pd.DatetimeIndex(equity.index))
        try:
            return deflated_sharpe(daily, ratios / np.sqrt(DAYS))
        except UsageError:
            return None

    def counts(self) -> dict[str, int]:
        """How many trials there were, and how they ended."""
        ended = self.frame["status"].value_counts()
        return {"trials": len(self.trials)} | {name: int(ended.get(name, 0)) for name in (OK, INVALID, FAILED)}

    def heatmap(self, x: str | None = None, y: str | None = None) -> go.Figure:
        """The first objective over two parameters (default: the first two), the best of everything else."""
        from cashup.research.sweeping import surface

        names = [x or self.parameters[0], y or next((name for name in self.parameters if name != x), "")]
        for name in names if y or len(self.parameters) > 1 else names[:1]:
            if name not in self.parameters:
                raise UsageError(f"{name!r} was not swept; there is {', '.join(self.parameters)}")
        objective = self.objectives[0]
        if len(self.parameters) == 1:
            return surface.curve(self.ranked, names[0], objective.figure)
        return surface.heatmap(self.ranked, names[0], names[1], objective.figure, objective.direction)

    def heatmaps(self) -> list[go.Figure]:
        """A heatmap per pair of parameters."""
        pairs = list(combinations(self.parameters, 2))
        return [self.heatmap(x, y) for x, y in pairs] if pairs else [self.heatmap()]

    def parallel(self) -> go.Figure:
        """Every trial as a line through its parameters and figures."""
        from cashup.research.sweeping import surface

        figures = [*dict.fromkeys([*(one.figure for one in self.objectives), "total_return", "max_drawdown"])]
        return surface.parallel(self.ranked, self.parameters, figures, self.objectives[0].direction)

    def plateau(self) -> go.Figure:
        """Every trial's objective against its neighbours'; `robust` has the numbers."""
        from cashup.research.sweeping import surface

        if self.robust is None:
            raise UsageError("a plateau takes three trials or more; try more sets")
        return surface.plateau(self.robust, self.objectives[0].figure)

    def pareto(self) -> go.Figure:
        """The first two objectives against each other, with the front."""
        from cashup.research.sweeping import surface

        if len(self.objectives) < 2:
            raise UsageError("a Pareto front takes two objectives; name several")
        return surface.front(self.ranked, self.front, self.objectives[0].figure, self.objectives[1].figure)

    def save(self, path: Path) -> None:
        """The pictures as one HTML file that needs nothing else."""
        drawn = [*self.heatmaps(), self.parallel()]
        drawn += [self.plateau()] if self.robust else []
        drawn += [self.pareto()] if len(self.objectives) > 1 else []
        parts = [one.to_html(full_html=False, include_plotlyjs=number == 0) for number, one in enumerate(drawn)]
        title = html.escape(f"Sweep {self.run_id}")
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in self.notes())
        head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        path.write_text(f"{head}<body><h1>{title}</h1>{lines}{''.join(parts)}</body></html>", encoding="utf-8")

    def notes(self) -> list[str]:
        """What a reader of the best set should know, a sentence each."""
        counts = self.counts()
        lines = [f"{counts['trials']} trials: {counts[OK]} ok, {counts[INVALID]} invalid, {counts[FAILED]} failed"]
        if counts[INVALID] + counts[FAILED]:
            lines.append(f"the commonest reason{self._commonest_reason()}")
        slow = sorted(set(self.frame["engine"]) - {"kernel", ""})
        if slow:
            lines.append(f"simulated by {', '.join(slow)}, which is slower: the kernel cannot do what was asked")
        if self.robust:
            lines.append(self.robust.sentence)
        if self.deflated:
            lines.append(
                f"deflated Sharpe {self.deflated.dsr:.2f}: the chance that the best set is better than the best of "
                f"{self.deflated.trials} tries without any skill"
            )
        return lines

    def to_json(self, top: int = 10) -> dict[str, Any]:
        """Everything but the whole table: `frame` is in the folder."""
        best = None if self.ranked.empty else self._shown(int(self.ranked.index[0]))
        robust = self.robust
        return {
            "run_id": self.run_id,
            "objectives": [str(one) for one in self.objectives],
            "constraints": [one.text for one in self.conditions],
            **self.counts(),
            "engines": sorted(set(self.frame["engine"]) - {""}),
            "best": best,
            "top": [self._shown(int(number)) for number in self.ranked.index[:top]],
            "front": [self._shown(int(number)) for number in self.front.index] if len(self.objectives) > 1 else None,
            "plateau": robust
            and {"peak": robust.peak, "plateau": self._shown(robust.plateau), "lonely": robust.lonely},
            "deflated": self.deflated.to_json() if self.deflated else None,
            "notes": self.notes(),
            "notebook_hash": self.plan.notebook_hash,
            "data_version": self.plan.data_version,
            "output": str(self.folder / "trials.parquet"),
        }

    def __repr__(self) -> str:
        objective = self.objectives[0].figure
        if self.ranked.empty:
            return f"<Sweep {self.run_id}: {len(self.trials)} trials, none with a result>"
        params = ", ".join(f"{name}={value!r}" for name, value in self.best.params.items())
        return f"<Sweep {len(self.trials)} trials, best {objective} {self.best.metrics[objective]:.4g} with {params}>"

    def _repr_html_(self) -> str:
        lines = "".join(f"<br>{html.escape(line)}" for line in self.notes())
        return f"<b>{html.escape(repr(self))}</b>{lines}{self.ranked.head(10).to_html(max_cols=14)}"

    @cached_property
    def _by_number(self) -> dict[int, Trial]:
        return {trial.number: trial for trial in self.trials}

    def _shown(self, number: int) -> dict[str, Any]:
        trial = self._by_number[number]
        return {"trial": number, "params": dict(trial.params), "metrics": dict(trial.metrics)}

    def _commonest_reason(self) -> str:
        reasons = self.frame.loc[self.frame["reason"] != "", "reason"].value_counts()
        return f": {reasons.index[0]} ({reasons.iloc[0]} x)" if len(reasons) else ""
