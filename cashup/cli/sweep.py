"""`cashup sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cashup.cli.options import Json, Notebook, Terms, with_terms
from cashup.cli.params import Grid, Params, ParamsCommand, read_params

if TYPE_CHECKING:
    from cashup.research.sweeping.plan import Plan
    from cashup.research.sweeping.swept import Sweep


@with_terms(venue_limits=True)
def sweep(
    notebook: Notebook,
    grid: Grid = None,
    param: Params = None,
    method: Annotated[str, typer.Option(help="grid, random, tpe or nsga2")] = "grid",
    trials: Annotated[int | None, typer.Option(help="how many sets at most; default: the grid, or 100", min=1)] = None,
    objective: Annotated[list[str] | None, typer.Option(help="a figure to rank by, such as sharpe or min:fees")] = None,
    constraint: Annotated[list[str] | None, typer.Option(help='such as "fast < slow" or "max_drawdown < 0.3"')] = None,
    scheduler: Annotated[str, typer.Option(help="processes, local, dask, or a Dask cluster's address")] = "processes",
    workers: Annotated[int | None, typer.Option(help="processes at once; default: one per core", min=1)] = None,
    resume: Annotated[str | None, typer.Option(help="go on with the sweep of this id")] = None,
    top: Annotated[int, typer.Option(help="how many of the best to show", min=1)] = 10,
    seed: Annotated[int, typer.Option(help="of the searches by chance")] = 0,
    tearsheet: Annotated[bool, typer.Option("--tearsheet", help="the tear sheet of the best set as well")] = False,
    *,
    terms: Terms,
    as_json: Json = False,
) -> None:
    """Try many parameter sets of a notebook, and rank them. Ctrl-C keeps what was tried."""
    from time import perf_counter

    from cashup.cli.runs import print_json
    from cashup.clock import WallClock
    from cashup.errors import UsageError
    from cashup.research.spec import RunSpec
    from cashup.research.sweeping.plan import Plan, read_plan
    from cashup.strategies.registry import new_run_id

    if resume is not None and (grid or param):
        raise UsageError("a resumed sweep has its ranges and parameters already; leave out -g and -p")
    if resume is not None:
        plan = read_plan(resume)
    else:
        spec = RunSpec(
            **terms,
            run_id=new_run_id(WallClock().now()),
        )
        plan = Plan(
            ranges=_ranges(grid),
            spec=spec,
            params=read_params(notebook, param),
            method=method,
            trials=trials,
            seed=seed,
            objectives=objective or ["sharpe"],
            constraints=constraint or [],
        )
    began = perf_counter()
    found = _run(notebook, plan, scheduler, workers)
    seconds = perf_counter() - began
    pictures = found.folder / "heatmap.html"
    if not found.ranked.empty:
        found.save(pictures)
    if tearsheet and not found.ranked.empty:
        _tearsheet(notebook, found)
    if as_json:
        print_json(found.to_json(top) | {"seconds": seconds})
    else:
        _print(found, top, seconds)
    if found.ranked.empty and not found.counts()["ok"]:
        raise typer.Exit(1)


def _ranges(words: list[str] | None) -> dict[str, str]:
    made: dict[str, str] = {}
    for word in words or ():
        name, _, text = word.partition("=")
        made[name] = text
    return made


def _run(notebook: Path, plan: Plan, scheduler: str, workers: int | None) -> Sweep:
    from cashup.research.sweeping.plan import folder_of
    from cashup.research.sweeping.sweep import counted
    from cashup.research.sweeping.ticker import watched
    from cashup.research.sweeping.triallog import TrialLog

    run_id = str(plan.spec.run_id)
    with watched() as told:
        try:
            return counted(notebook, plan, scheduler=scheduler, workers=workers, told=told)
        except KeyboardInterrupt:
            if kept := len(TrialLog(folder_of(run_id)).known):
                words = f"cashup sweep {notebook} --resume {run_id}"
                typer.echo(f"stopped; {kept} trials are kept. Go on with: {words}", err=True)
            raise


def _tearsheet(notebook: Path, found: Sweep) -> None:
    from cashup.markets.lake import Lake
    from cashup.research.backtest import backtest, bars_of
    from cashup.settings import load_settings
    from cashup.strategies.notebook import load_strategy

    strategy = load_strategy(notebook, {**found.plan.params, **found.best.params})
    made = backtest(strategy, bars_of(strategy, found.plan.spec, Lake(load_settings().lake_path)), found.plan.spec)
    made.save(found.folder / "tearsheet.html")


def _print(found: Sweep, top: int, seconds: float) -> None:
    from cashup.cli.runs import shown
    from cashup.cli.table import print_table

    figures = [
        *dict.fromkeys([*(one.figure for one in found.objectives), "sharpe", "total_return", "max_drawdown", "trades"])
    ]
    table = found.front if len(found.objectives) > 1 else found.ranked
    columns = [*found.parameters, *(name for name in figures if name in table)]
    rows = [
        [str(number), *(shown(value) for value in row)]
        for number, row in zip(table.index[:top], table[columns].head(top).itertuples(index=False), strict=True)
    ]
    if len(found.objectives) > 1:
        typer.echo(f"Pareto front of {', '.join(map(str, found.objectives))}:")
    print_table(["trial", *columns], rows)
    for line in found.notes():
        typer.echo(line)
    typer.echo(f"{seconds:.1f} s, {len(found.trials) / seconds:.0f} sets/s; run {found.run_id}: {found.folder}")


def register(root: typer.Typer) -> None:
    """Add the command to `root`."""
    root.command("sweep", cls=ParamsCommand)(sweep)
