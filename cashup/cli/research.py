"""`cashup backtest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cashup.cli.database import database_ahead, with_database
from cashup.cli.options import (
    Capital,
    DataVersion,
    End,
    Exchange,
    Fee,
    Json,
    MakerFee,
    NoFunding,
    Slippage,
    Start,
    VenueLimits,
)
from cashup.cli.params import Params, ParamsCommand, read_params

if TYPE_CHECKING:
    from cashup.strategies.registry import Run


def backtest(
    notebook: Annotated[Path, typer.Argument(help="the notebook, such as notebooks/sma_cross.ipynb")],
    param: Params = None,
    start: Start = None,
    end: End = None,
    exchange: Exchange = "gate",
    capital: Capital = 10_000.0,
    fee: Fee = 0.001,
    slippage: Slippage = 0.0,
    maker_fee: MakerFee = None,
    no_funding: NoFunding = False,
    venue_limits: VenueLimits = False,
    data_version: DataVersion = None,
    as_json: Json = False,
) -> None:
    """Execute a notebook with papermill as a backtest, and record the run."""
    import sys

    from cashup.cli.runs import print_json, print_run
    from cashup.clock import WallClock
    from cashup.errors import WorkFailed
    from cashup.research.execution import execute
    from cashup.research.record import failed_record, run_record
    from cashup.research.spec import RunSpec
    from cashup.settings import load_settings
    from cashup.strategies.registry import new_run_id, record_run

    now = WallClock().now()
    params = read_params(notebook, param)
    spec = RunSpec(
        exchange=exchange,
        start=start,
        end=end,
        capital=capital,
        fee=fee,
        slippage=slippage,
        maker_fee=maker_fee,
        funding=not no_funding,
        venue_limits=venue_limits,
        data_version=data_version,
        run_id=new_run_id(now),
    )
    database_ahead()
    try:
        done = execute(notebook, params, spec, load_settings(), progress=sys.stderr.isatty())
    except WorkFailed as error:
        failed = failed_record("backtest", notebook, params, spec, error, load_settings(), created=now)
        with_database(lambda database: record_run(database, failed))
        raise
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
    for note in done.result.get("notes", ()):
        print(f"cashup: {note}", file=sys.stderr)
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
