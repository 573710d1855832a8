"""`cashup backtest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cashup.cli.database import with_database
from cashup.cli.params import Params, ParamsCommand, read_params

if TYPE_CHECKING:
    from cashup.strategies.registry import Run

Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]


def backtest(
    notebook: Annotated[Path, typer.Argument(help="the notebook, such as notebooks/sma_cross.ipynb")],
    param: Params = None,
    start: Annotated[str | None, typer.Option(help="the first decision, such as 2025-01-01 (UTC)")] = None,
    end: Annotated[str | None, typer.Option(help="bars that open from here on are left out")] = None,
    exchange: Annotated[str, typer.Option(help="the exchange the bars were imported for")] = "gate",
    capital: Annotated[float, typer.Option(help="the equity to start with, in quote currency")] = 10_000.0,
    fee: Annotated[float, typer.Option(help="the fee of every order, as a ratio")] = 0.001,
    slippage: Annotated[float, typer.Option(help="how much worse than the open orders fill, as a ratio")] = 0.0,
    as_json: Json = False,
) -> None:
    """Execute a notebook with papermill as a backtest, and record the run."""
    import sys

    from cashup.cli.runs import print_json, print_run
    from cashup.clock import WallClock
    from cashup.research.execution import execute
    from cashup.research.record import run_record
    from cashup.research.spec import RunSpec
    from cashup.settings import load_settings
    from cashup.strategies.registry import new_run_id, record_run

    now = WallClock().now()
    params = read_params(notebook, param)
    spec = RunSpec(
        exchange=exchange, start=start, end=end, capital=capital, fee=fee, slippage=slippage, run_id=new_run_id(now)
    )
    done = execute(notebook, params, spec, load_settings(), progress=sys.stderr.isatty())
    run = run_record(
        "backtest",
        notebook,
        params,
        spec,
        data_version=done.result["data_version"],
        metrics=done.result["metrics"],
        output=done.output,
        created=now,
    )
    with_database(lambda database: record_run(database, run))
    if as_json:
        print_json(_summary(run))
    else:
        print_run(run)


def _summary(run: Run) -> dict[str, Any]:
    names = ("total_return", "sharpe", "max_drawdown", "trades", "final_equity")
    return {name: run.metrics[name] for name in names} | {
        "notebook_hash": run.notebook_hash,
        "data_version": run.data_version,
        "run_id": run.id,
        "output": run.output,
    }


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command(cls=ParamsCommand)(backtest)
