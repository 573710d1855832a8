"""`cashup data`: bars into the lake, what is there, and whether it is sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cashup.cli.table import print_table

if TYPE_CHECKING:
    from cashup.markets.health import Health
    from cashup.markets.lake import Lake, Series

app = typer.Typer(help="bars: bring them in, list them, check them", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]
Exchange = Annotated[str, typer.Option(help="the exchange the bars belong to, in ccxt's spelling")]
Timeframe = Annotated[str, typer.Option(help="the length of a bar, such as 1m, 1h or 1d")]


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV with a header, feather or Parquet; the layout is recognised")],
    symbol: Annotated[str, typer.Option(help="what the bars are of, such as BTC/USDT")],
    exchange: Exchange = "gate",
    timeframe: Timeframe = "1h",
    replace: Annotated[bool, typer.Option("--replace", help="forget the bars that are there already")] = False,
    as_json: Json = False,
) -> None:
    """Check a file of bars and store it in the lake, all of it or nothing."""
    from cashup.markets.importer import import_file

    lake = _lake()
    done = import_file(lake, file, exchange, symbol, timeframe, replace=replace)
    series = lake.describe(exchange, symbol, timeframe)
    if as_json:
        _print_json(_described(series) | {"added": done.added, "changed": done.changed})
        return
    typer.echo(
        f"{symbol} {timeframe} on {exchange}: {done.bars} bars, {done.added} new, {done.changed} changed; "
        f"data version {done.version[:12]}"
    )


@app.command("list")
def list_(as_json: Json = False) -> None:
    """What is in the lake."""
    found = _lake().list()
    if as_json:
        _print_json({"series": [_described(series) for series in found]})
        return
    header = ["exchange", "symbol", "timeframe", "bars", "first", "last", "version", "source"]
    rows = []
    for series in found:
        about = _described(series)
        rows.append([str(about[name]) for name in header])
        rows[-1][6] = series.version[:12]
    print_table(header, rows)


@app.command()
def check(
    symbol: Annotated[str | None, typer.Option(help="only this one")] = None,
    exchange: Annotated[str | None, typer.Option(help="only this one")] = None,
    timeframe: Annotated[str | None, typer.Option(help="only this one")] = None,
    as_json: Json = False,
) -> None:
    """Look for gaps, duplicates, impossible prices, wrong time zones and damaged files; exit 1 when one is unsound."""
    lake = _lake()
    chosen = [
        series
        for series in lake.list()
        if symbol in (None, series.symbol)
        and exchange in (None, series.exchange)
        and timeframe in (None, series.timeframe)
    ]
    reports = [_examine(lake, series) for series in chosen]
    sound = all(report["sound"] for report in reports)
    if as_json:
        _print_json({"sound": sound, "series": reports})
    else:
        _print_reports(reports)
    if not sound:
        raise typer.Exit(1)


@app.command()
def generate(
    symbol: Annotated[list[str] | None, typer.Option(help="what to make up; may be given several times")] = None,
    exchange: Exchange = "gate",
    timeframe: Timeframe = "1h",
    start: Annotated[str, typer.Option(help="the first bar, UTC")] = "2024-01-01",
    bars: Annotated[int, typer.Option(help="how many bars", min=1)] = 17_544,
    seed: Annotated[int, typer.Option(help="the same seed makes the same bars")] = 7,
    as_json: Json = False,
) -> None:
    """Make up bars that look like a market (a seeded random walk); never over bars that were imported."""
    from cashup.clock import parse_time
    from cashup.markets.synthetic import FIRST_PRICES, store_generated

    lake = _lake()
    made = [
        store_generated(lake, exchange, name, timeframe, parse_time(start), bars, seed)
        for name in symbol or list(FIRST_PRICES)
    ]
    if as_json:
        _print_json({"series": [_described(series) for series in made]})
        return
    for series in made:
        typer.echo(f"{series.symbol} {series.timeframe} on {series.exchange}: {series.bars} bars made up (seed {seed})")


def _lake() -> Lake:
    from cashup.markets.lake import Lake
    from cashup.settings import load_settings

    return Lake(load_settings().lake_path)


def _described(series: Series) -> dict[str, Any]:
    from cashup.clock import isoformat

    return {
        "exchange": series.exchange,
        "symbol": series.symbol,
        "timeframe": series.timeframe,
        "bars": series.bars,
        "first": isoformat(series.first),
        "last": isoformat(series.last),
        "version": series.version,
        "source": series.source,
    }


def _examine(lake: Lake, series: Series) -> dict[str, Any]:
    from cashup.clock import isoformat
    from cashup.markets.health import check_health
    from cashup.markets.lake import content_version

    frame = lake.read(series.exchange, series.symbol, series.timeframe)
    health: Health = check_health(frame, series.timeframe)
    version = content_version(series.exchange, series.symbol, series.timeframe, frame)
    problems = [
        {"code": found.code, "count": found.count, "first": isoformat(found.first), "message": found.message}
        for found in health.problems
    ]
    if version != series.version:
        message = "the bars are not the ones that were stored; import them again"
        problems.append({"code": "version", "count": series.bars, "first": isoformat(series.first), "message": message})
    gaps = [
        {"after": isoformat(gap.after), "before": isoformat(gap.before), "missing": gap.missing} for gap in health.gaps
    ]
    return _described(series) | {"sound": not problems, "gaps": gaps, "problems": problems}


def _print_reports(reports: list[dict[str, Any]]) -> None:
    if not reports:
        typer.echo("the lake has no such bars; `cashup data list` shows what it has")
    for report in reports:
        name = f"{report['symbol']} {report['timeframe']} on {report['exchange']}"
        typer.echo(f"{name}: {report['bars']} bars, {'sound' if report['sound'] else 'NOT SOUND'}")
        for problem in report["problems"]:
            typer.echo(f"  {problem['code']}: {problem['message']}")
        for gap in report["gaps"]:
            typer.echo(f"  gap: {gap['missing']} bars are missing between {gap['after']} and {gap['before']}")


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document))


def register(root: typer.Typer) -> None:
    """Add the commands of this file to `root`."""
    root.add_typer(app, name="data")
