"""`cashup backtest`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from cashup.cli.database import database_ahead, with_database
from cashup.cli.options import Json, Notebook, Terms, with_terms
from cashup.cli.params import Params, ParamsCommand, read_params

if TYPE_CHECKING:
    from cashup.strategies.registry import Run


@with_terms(venue_limits=True)
def backtest(
    notebook: Notebook,
    param: Params = None,
    *,
    terms: Terms,
    as_json: Json = False,
) -> None:
    """Execute a notebook with papermill as a backtest, and record the run."""
    import sys

    from cashup.cli.runs import print_json, print_run
    from cashup.clock import WallClock
    from cashup.errors import WorkFailed
    from cashup.research.recording.execution import execute
    from cashup.research.recording.record import failed_record, run_record
    from cashup.research.spec import RunSpec
    from cashup.settings import load_settings
    from cashup.strategies.registry import new_run_id, record_run

    now = WallClock().now()
    params = read_params(notebook, param)
    spec = RunSpec(
        **terms,
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
