"""The sweep: a strategy with many parameter sets, each tried as a backtest by the compiled execution rule.

    found = cu.sweep("notebooks/sma_cross.ipynb", {"fast": range(5, 50, 5), "slow": "20:200:10"})
    found.best, found.frame, found.heatmap("fast", "slow"), found.plateau()

Trials are written to the run's folder as they come. A sweep that was stopped goes on where it was (`resume`), and ends
with the same table as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from cashup.clock import WallClock
from cashup.errors import CashUpError, Conflict, DataError, UsageError
from cashup.research.kernel import Terms, carry_out, prices_of
from cashup.research.spec import run_spec
from cashup.research.sweeping import lane
from cashup.research.sweeping.condition import Condition
from cashup.research.sweeping.judge import Judge, Task, Trial
from cashup.research.sweeping.objective import FIGURES, Objective, objectives
from cashup.research.sweeping.plan import Plan, folder_of, read_plan
from cashup.research.sweeping.pool import block_size, open_pool
from cashup.research.sweeping.search import Numbered, search
from cashup.research.sweeping.space import Between, Space, space
from cashup.research.sweeping.swept import Sweep
from cashup.research.sweeping.tally import Source, count, name_of
from cashup.research.sweeping.ticker import Progress, watched
from cashup.research.sweeping.triallog import TABLE, TrialLog, store
from cashup.settings import load_settings
from cashup.strategies.bars import Bars
from cashup.strategies.environment import environment_hash
from cashup.strategies.notebook import check_parameters, notebook_hash
from cashup.strategies.registry import Run, new_run_id
from cashup.strategies.strategy import Strategy
from cashup.strategies.symbols import did_you_mean
from cashup.types import Millis

Ranges = Mapping[str, str | Iterable[Any] | Between]


def sweep(
    strategy: Source | str,
    ranges: Ranges | None = None,
    *,
    params: Mapping[str, Any] | None = None,
    method: str = "grid",
    trials: int | None = None,
    objective: str | Sequence[str] = "sharpe",
    constraints: str | Sequence[str] = (),
    seed: int = 0,
    scheduler: str = "processes",
    workers: int | None = None,
    resume: str | None = None,
    exchange: str | None = None,
    start: str | datetime | None = None,
    end: str | datetime | None = None,
    capital: float | None = None,
    fee: float | None = None,
    slippage: float | None = None,
    maker_fee: float | None = None,
    funding: bool | None = None,
    venue_limits: bool | None = None,
    data_version: str | None = None,
) -> Sweep:
    """Try many parameter sets of a strategy.

    `strategy` is a notebook's path, a `Strategy`, or a function that makes one of a dict of parameters. `ranges` maps
    parameters to values (`range(5, 50, 5)`, a list) or to text such as `"5:50:5"`, `"0.1..0.9"`; `params` sets others.
    `method` is `grid`, `random`, `tpe` or `nsga2`, with `trials` and `seed` for the last three. `objective` is a figure
    or several (`"sharpe"`, `"max:trades"`), `constraints` are comparisons (`"fast < slow"`, `"max_drawdown < 0.3"`).
    `scheduler` is `processes`, `local`, `dask` or the address of a Dask cluster; `resume` the id of a sweep that was
    stopped. The rest is as in `cu.run`.

    Returns a `Sweep` with `frame`, `best`, `heatmap()`, `parallel()`, `plateau()`. Every trial is counted in the
    registry. Raises UsageError for ranges that make no sense, and the notebook's own error when no set is valid.
    """
    source = Path(strategy) if isinstance(strategy, str) else strategy
    if resume is not None:
        plan = read_plan(resume)
    else:
        spec = run_spec(
            exchange=exchange,
            start=start,
            end=end,
            capital=capital,
            fee=fee,
            slippage=slippage,
            maker_fee=maker_fee,
            funding=funding,
            venue_limits=venue_limits,
            data_version=data_version,
        )
        plan = Plan(
            ranges={name: _plain(wanted) for name, wanted in (ranges or {}).items()},
            spec=replace(spec, run_id=new_run_id(WallClock().now())),
            params=dict(params or {}),
            method=method,
            trials=trials,
            seed=seed,
            objectives=[objective] if isinstance(objective, str) else list(objective),
            constraints=[constraints] if isinstance(constraints, str) else list(constraints),
        )
    with watched() as told:
        return counted(source, plan, scheduler=scheduler, workers=workers, told=told)


def counted(source: Source, plan: Plan, **how: Any) -> Sweep:
    """`run_sweep`, with its trials in the registry however it ends, and its run when it is done."""
    run_id = str(plan.spec.run_id)
    started = WallClock().now()
    try:
        found = run_sweep(source, plan, **how)
    except BaseException:  # Ctrl-C as well: what was tried was tried
        count(source, run_id, TrialLog(folder_of(run_id)).in_order())
        raise
    count(source, run_id, found.trials, _record(source, plan, found, started))
    return found


def _record(source: Source, plan: Plan, found: Sweep, created: Millis) -> Run:
    notebook, digest = name_of(source)
    best = None if found.ranked.empty else found.best
    figures: dict[str, Any] = dict(best.metrics) if best else {}
    return Run(
        id=found.run_id,
        kind="sweep",
        notebook=notebook,
        notebook_hash=digest,
        params={**plan.params, **(best.params if best else {})},
        spec={**asdict(plan.spec), "ranges": plan.ranges, "method": plan.method, "objectives": list(plan.objectives)},
        data_version=found.plan.data_version,
        lock_hash=environment_hash(),
        seed=plan.seed,
        metrics={**figures, **found.counts()},
        output=str(found.folder / TABLE),
        created=created,
    )


def run_sweep(
    source: Source,
    plan: Plan,
    *,
    scheduler: str = "processes",
    workers: int | None = None,
    told: Callable[[Progress], None] | None = None,
) -> Sweep:
    """Carry `plan` out, or what is left of it. A KeyboardInterrupt leaves what was tried on disk."""
    wanted = objectives(list(plan.objectives))
    conditions = [Condition(text) for text in plan.constraints]
    tried = space(plan.ranges)
    _check_names(tried, conditions)
    judge, version = _prepare(source, plan, tried, conditions, wanted)
    plan = _same_bars(source, plan, version)
    folder = folder_of(str(plan.spec.run_id))
    plan.write(folder)
    seek = search(tried, plan.method, trials=plan.trials, seed=plan.seed, objectives=wanted, conditions=conditions)
    _warm_up()
    with TrialLog(folder) as log, open_pool(scheduler, workers, judge) as pool:
        best = _Best(wanted[0], conditions, log.known.values())
        block = block_size(seek.total, pool.workers)
        for sets in seek.rounds():
            seen: list[Trial] = []
            for made in pool.trials(_unknown(sets, log, seen), block):
                log.add(made)
                seen += made
                best.see(made)
                if told:
                    told(Progress(len(log.known), seek.total, best.trial))
            seek.tell(seen)
    found = Sweep(log.in_order(), plan, judge)
    store(folder, found.frame)
    return found


def _unknown(sets: Iterator[Numbered], log: TrialLog, seen: list[Trial]) -> Iterator[Numbered]:
    """The sets without a trial; the trials of the others join `seen`."""
    for number, params in sets:
        if number in log.known:
            seen.append(log.known[number])
        else:
            yield number, params


class _Best:
    """The best trial so far."""

    def __init__(self, objective: Objective, conditions: Sequence[Condition], known: Iterable[Trial]) -> None:
        self.trial: Trial | None = None
        self._most = float("-inf")
        self._objective = objective
        self._conditions = conditions
        self.see(known)

    def see(self, trials: Iterable[Trial]) -> None:
        for trial in trials:
            known = {**trial.params, **trial.metrics}
            if self._gain(trial) > self._most and all(condition.holds(known) for condition in self._conditions):
                self.trial, self._most = trial, self._gain(trial)

    def _gain(self, trial: Trial) -> float:
        return self._objective.gain(trial.metrics.get(self._objective.figure))


def _prepare(
    source: Source, plan: Plan, tried: Space, conditions: Sequence[Condition], wanted: Sequence[Objective]
) -> tuple[Judge, str]:
    """The judge of this process, with the first market's bars at hand, and their version.

    The corners of the space are loaded for it: mistakes show before the work begins, and with a start every set sees
    the longest warm-up of them as history, so that sets share bars and indicators.
    """
    if isinstance(source, Path):
        source = source.resolve()
        for params in tried.corners(1):
            check_parameters(source, {**plan.params, **params})
    names = {name for condition in conditions for name in condition.names} | {one.figure for one in wanted}
    task = Task(source, plan.spec, load_settings().lake_path, dict(plan.params), whole="sortino" in names)
    strategies = _loadable(Judge(task), tried)
    histories = sorted({one.warmup for one in strategies}, reverse=True) if plan.spec.start else [0]
    while True:
        judge = Judge(replace(task, history=histories.pop(0)))
        try:
            return judge, judge.market(judge.told(strategies[0])).bars.version
        except DataError:
            if not histories:
                raise


def _check_names(tried: Space, conditions: Sequence[Condition]) -> None:
    for condition in conditions:
        for name in sorted(condition.names - set(tried.ranges)):
            if name not in FIGURES:
                raise UsageError(
                    f"the constraint {condition.text!r} names {name!r}; {did_you_mean(name, [*tried.ranges, *FIGURES])}"
                )


def _loadable(judge: Judge, tried: Space) -> list[Strategy]:
    """The strategies of the corners, and when the notebook refuses them all, the first other one that it takes."""
    strategies: list[Strategy] = []
    refused: CashUpError | None = None
    for params in tried.corners():
        try:
            strategies.append(judge.strategy(params))
        except CashUpError as error:
            refused = refused or error
    draws = tried.draws(0)
    for _ in range(0 if strategies else 200):
        try:
            return [judge.strategy(next(draws))]
        except CashUpError as error:
            refused = refused or error
    if not strategies and refused is not None:
        raise refused
    return strategies


def _same_bars(source: Source, plan: Plan, version: str) -> Plan:
    """The plan with its notebook and bars named; a resumed one must have the same."""
    found = notebook_hash(source) if isinstance(source, Path) else ""
    if plan.data_version and (plan.data_version != version or plan.notebook_hash != found):
        what = "the bars in the lake have" if plan.data_version != version else "the notebook has"
        raise Conflict(f"{what} changed since sweep {plan.spec.run_id} was begun; start a new one")
    return replace(plan, data_version=version, notebook_hash=found)


def _warm_up() -> None:
    """Load the compiled pass before processes are forked, so that it is done once."""
    ones = np.ones((5, 2, 1))
    bars = Bars(np.arange(2, dtype=np.int64), ["BTC/USDT"], "1h", ones)
    course = lane.course_of(bars)
    if course is not None:
        lane.figures(ones[0, :, 0], course, Terms(), 1.0)
    carry_out(prices_of(bars), ones[0], Terms(), capital=1.0, keep=False)


def _plain(wanted: Any) -> Any:
    """A range as JSON keeps it."""
    if isinstance(wanted, str):
        return wanted
    if isinstance(wanted, Between):
        return f"{'log:' if wanted.log else ''}{wanted.low}..{wanted.high}"
    return [value.item() if hasattr(value, "item") else value for value in wanted]
