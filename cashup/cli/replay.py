"""`cashup replay`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cashup.cli.options import Json, Notebook, Terms, with_terms
from cashup.cli.params import Params, ParamsCommand, read_params

if TYPE_CHECKING:
    from cashup.research.replay import Replay, ReplayReport
    from cashup.research.spec import RunSpec
    from cashup.types import Millis


@with_terms()
def replay(
    notebook: Notebook,
    param: Params = None,
    *,
    terms: Terms,
    decisions: Annotated[
        str, typer.Option(help="window: ask the strategy bar by bar, as live; frame: once for all bars, faster")
    ] = "window",
    limits: Annotated[
        Path | None, typer.Option(help="a deployment's file: its limits and protections hold on the venue")
    ] = None,
    as_json: Json = False,
) -> None:
    """Drive a notebook's strategy bar by bar through the code that trades live, and compare with its backtest.

    The JSON holds the figures of the replay without rounding (`total_return sharpe max_drawdown trades final_equity
    orders ...`), `backtest` (the same of the backtest), `parity` (whether both made the same orders), `venue` (the
    replay with the venue's lots, ticks and minimums), `rounding` (what those cost), and what it was made of:
    `notebook_hash data_version run_id output`. The orders of both replays are in the file `output`.
    Exit code 1 when replay and backtest differ.
    """
    import json
    from dataclasses import replace

    from cashup.clock import WallClock, timeframe_millis
    from cashup.errors import UsageError
    from cashup.markets.lake import Lake
    from cashup.research.replay import replay_report
    from cashup.research.spec import RunSpec
    from cashup.settings import load_settings
    from cashup.strategies.notebook import load_strategy, notebook_hash
    from cashup.strategies.registry import new_run_id
    from cashup.trading.rules import NO_RULES, Rules
    from cashup.workers.deployment import read_file

    if decisions not in ("window", "frame"):
        raise UsageError(f"--decisions is window or frame; it is {decisions!r}")
    settings, now = load_settings(), WallClock().now()
    params = read_params(notebook, param)
    spec = RunSpec(
        mode="replay",
        **terms,
        run_id=new_run_id(now),
    )
    strategy = load_strategy(notebook, params)
    length = timeframe_millis(strategy.timeframe)
    rules = NO_RULES if limits is None else replace(Rules.of(read_file(limits)), timeframe=length)
    lake = Lake(settings.lake_path)
    report = replay_report(strategy, lake, spec, decisions=decisions, rules=rules)  # type: ignore[arg-type]
    output = settings.home_path / "runs" / str(spec.run_id) / "replay.json"
    document = report.to_json() | {
        "notebook_hash": notebook_hash(notebook),
        "run_id": str(spec.run_id),
        "output": str(output),
    }
    _store(output, document, report)
    _record(notebook, params, spec, report, output, now)
    if as_json:
        typer.echo(json.dumps(document))
    else:
        typer.echo(report.report())
        typer.echo(f"recorded as {spec.run_id}: {output}")
    if not report.parity.equal:
        raise typer.Exit(1)


def _store(path: Path, document: Mapping[str, Any], report: ReplayReport) -> None:
    """The report with every order of both replays, as a file that is there as a whole or not at all."""
    import json

    orders = {name: _lines(replayed) for name, replayed in (("ideal", report.ideal), ("venue", report.venue))}
    path.parent.mkdir(parents=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({**document, "order_lines": orders}, indent=1), encoding="utf-8")
    temporary.replace(path)


def _lines(replayed: Replay) -> list[dict[str, Any]]:
    from cashup.trading.parity import Record

    return [
        {"bar": line.bar, "symbol": line.symbol, "side": line.side, "quantity": str(line.quantity)}
        | {"price": str(line.price)}
        for line in Record.of("replay", replayed.exact).lines
    ]


def _record(
    notebook: Path, params: Mapping[str, Any], spec: RunSpec, report: ReplayReport, output: Path, now: Millis
) -> None:
    """Enter the replay into the registry of runs."""
    from cashup.cli.database import with_database
    from cashup.research.recording.record import run_record
    from cashup.strategies.registry import record_run

    figures = report.ideal.metrics() | {
        "equals_backtest": report.parity.equal,
        "venue_final_equity": float(report.venue.exact.final_equity),
        "rounding_cost_ratio": float(report.rounding_cost_ratio),
    }
    run = run_record(
        "replay",
        notebook,
        params,
        spec,
        data_version=report.backtest.data_version,
        metrics=figures,
        output=output,
        created=now,
    )
    with_database(lambda database: record_run(database, run))


def register(app: typer.Typer) -> None:
    """Add the command of this file to `app`."""
    app.command(cls=ParamsCommand)(replay)
