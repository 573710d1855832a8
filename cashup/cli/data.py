"""`cashup data`: bars into the lake, what is there, and whether it is sound."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cashup.cli import history
from cashup.cli.series import (
    Exchange,
    Json,
    OnlyExchange,
    OnlySymbol,
    OnlyTimeframe,
    Timeframe,
    choose,
    described,
    open_lake,
    print_json,
)
from cashup.cli.table import print_table

if TYPE_CHECKING:
    from cashup.markets.intake import Intake
    from cashup.markets.lake import Lake, Series

app = typer.Typer(help="bars: bring them in, list them, check them", no_args_is_help=True)
history.register(app)


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="CSV, feather, Parquet, JSON, zip or gzip", metavar="FILE...")],
    symbol: Annotated[str | None, typer.Option(help="what it is of, such as BTC/USDT; told by the name if not")] = None,
    exchange: Annotated[str | None, typer.Option(help="in ccxt's spelling; told by the name, else gate")] = None,
    timeframe: Annotated[str | None, typer.Option(help="told by the name or the bars' distance if not")] = None,
    kind: Annotated[str | None, typer.Option(help="bars, funding, open_interest or trades; told by content")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="forget the rows that are there already")] = False,
    drop_duplicates: Annotated[bool, typer.Option("--drop-duplicates", help="keep the last bar of a time")] = False,
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="leave out bars that cannot be")] = False,
    as_json: Json = False,
) -> None:
    """Check files and store their rows in the lake, each file all or nothing; the layout is recognised."""
    from cashup.markets.intake import Wish, take_in

    lake = open_lake()
    wish = Wish(exchange, symbol, timeframe, kind, replace, drop_duplicates, drop_bad)
    taken = []
    for file in _progress(files, "files"):
        done = take_in(lake, file, wish)
        taken.append(_taken(lake, file, done))
        if not as_json:
            _print_taken(file, done)
    if as_json:
        print_json(taken[0] if len(taken) == 1 else {"files": taken})


@app.command("list")
def list_(
    versions: Annotated[bool, typer.Option("--versions", help="every version that can still be read")] = False,
    as_json: Json = False,
) -> None:
    """What is in the lake."""
    lake = open_lake()
    found = [*lake.list(), *lake.list(kinds=True)]
    documents = [described(series) | (_versions(lake, series) if versions else {}) for series in found]
    if as_json:
        print_json({"series": documents})
        return
    header = ["exchange", "symbol", "timeframe", "bars", "first", "last", "version", "filled", "source"]
    rows = []
    for about in documents:
        rows.append([str(about[name])[: 12 if name == "version" else None] for name in header])
        for version in about.get("versions", [])[:-1]:
            first, last = version["first"] or "", version["last"] or ""
            rows.append(["", "", "", str(version["bars"]), first, last, version["version"][:12], "", version["source"]])
    print_table(header, rows)


@app.command()
def prune(
    forget_runs: Annotated[bool, typer.Option("--forget-runs", help="those that recorded runs had as well")] = False,
    as_json: Json = False,
) -> None:
    """Drop versions that were replaced; those that a run had stay, so that it can be repeated."""
    versions, files = open_lake().prune(forget_runs=forget_runs)
    if as_json:
        print_json({"versions": versions, "files": files})
        return
    typer.echo(f"{versions} versions and {files} files dropped")


@app.command()
def check(
    symbol: OnlySymbol = None,
    exchange: OnlyExchange = None,
    timeframe: OnlyTimeframe = None,
    as_json: Json = False,
) -> None:
    """Look for gaps, duplicates, impossible prices, outliers, silence and damaged files; exit 1 when one is unsound."""
    lake = open_lake()
    reports = [_examine(lake, series) for series in choose(lake, symbol, exchange, timeframe)]
    sound = all(report["sound"] for report in reports)
    if as_json:
        print_json({"sound": sound, "series": reports})
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
    funding: Annotated[bool, typer.Option("--funding", help="of perpetuals also funding and open interest")] = False,
    as_json: Json = False,
) -> None:
    """Make up bars that look like a market (a seeded random walk); never over bars that were imported."""
    from cashup.clock import parse_time, timeframe_millis
    from cashup.errors import UsageError
    from cashup.markets.synthetic import FIRST_PRICES, store_funding, store_generated
    from cashup.strategies.symbols import is_contract

    lake = open_lake()
    first = parse_time(start)
    made = []
    names = symbol or list(FIRST_PRICES)
    if funding and not any(is_contract(name) for name in names):
        raise UsageError("funding is paid on perpetuals; add one, such as --symbol BTC/USDT:USDT")
    for name in names:
        made.append(store_generated(lake, exchange, name, timeframe, first, bars, seed))
        if funding and is_contract(name):
            made += store_funding(lake, exchange, name, first, first + bars * timeframe_millis(timeframe), seed)
    if as_json:
        print_json({"series": [described(series) for series in made]})
        return
    for series in made:
        what = described(series)["kind"]
        typer.echo(
            f"{series.symbol} {series.timeframe} on {series.exchange}: {series.bars} "
            f"{'bars' if what == 'bars' else 'rows'} made up (seed {seed})"
        )


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="DuckDB's SQL, such as 'select * from bars'")], as_json: Json = False
) -> None:
    """Ask the lake in SQL: tables bars, funding, open_interest and trades; each has exchange, symbol and timestamp."""
    found = open_lake().sql(query)
    if as_json:
        print_json(json.loads(found.to_json(orient="records", date_format="iso", double_precision=15)))
        return
    print_table([str(name) for name in found.columns], [[str(value) for value in row] for row in found.to_numpy()])


def _progress(files: Sequence[Path], unit: str) -> Iterable[Path]:
    """A bar on stderr for several files, when a person is there to see it."""
    from tqdm import tqdm

    bar: Iterable[Path] = tqdm(files, unit=f" {unit}", disable=True if len(files) == 1 else None, leave=False)
    return bar


def _taken(lake: Lake, file: Path, intake: Intake) -> dict[str, Any]:
    series = lake.describe(intake.exchange, intake.symbol, intake.timeframe)
    return described(series) | {
        "file": file.name,
        "added": intake.done.added,
        "changed": intake.done.changed,
        "guessed": list(intake.guessed),
        "repairs": [step.message for step in intake.steps],
    }


def _print_taken(file: Path, intake: Intake) -> None:
    if intake.guessed:
        typer.echo(f"{file.name} seems to be of {', '.join(intake.guessed)}", err=True)
    for step in intake.steps:
        typer.echo(f"{file.name}: {step.message}", err=True)
    done = intake.done
    typer.echo(
        f"{intake.symbol} {intake.timeframe} on {intake.exchange}: {done.bars} bars, {done.added} new, "
        f"{done.changed} changed; data version {done.version[:12]}"
    )


def _versions(lake: Lake, series: Series) -> dict[str, Any]:
    from cashup.clock import isoformat

    return {
        "versions": [
            {
                "version": version.version,
                "written": version.written,
                "source": version.source,
                "bars": version.rows,
                "first": isoformat(version.segments[0].first) if version.segments else None,
                "last": isoformat(version.segments[-1].last) if version.segments else None,
            }
            for version in lake.versions(series.exchange, series.symbol, series.timeframe)
        ]
    }


def _examine(lake: Lake, series: Series) -> dict[str, Any]:
    from cashup.clock import WallClock, isoformat
    from cashup.markets.health import Problem, check_health
    from cashup.markets.lake import content_version
    from cashup.markets.remarks import remarks

    frame = lake.read(series.exchange, series.symbol, series.timeframe)
    health = check_health(frame, series.timeframe)
    problems = list(health.problems)
    if content_version(series.exchange, series.symbol, series.timeframe, frame) != series.version:
        message = "the bars are not the ones that were stored; import them again"
        problems.append(Problem("version", series.bars, series.first, message))
    remarked = remarks(frame, series.timeframe, WallClock().now()) if health.sound else ()
    gaps = [
        {"after": isoformat(gap.after), "before": isoformat(gap.before), "missing": gap.missing} for gap in health.gaps
    ]
    return described(series) | {
        "sound": not problems,
        "gaps": gaps,
        "problems": [_problem(problem) for problem in problems],
        "remarks": [_problem(remark) for remark in remarked],
    }


def _problem(found: Any) -> dict[str, Any]:
    from cashup.clock import isoformat

    return {"code": found.code, "count": found.count, "first": isoformat(found.first), "message": found.message}


def _print_reports(reports: list[dict[str, Any]]) -> None:
    if not reports:
        typer.echo("the lake has no such bars; `cashup data list` shows what it has")
    for report in reports:
        name = f"{report['symbol']} {report['timeframe']} on {report['exchange']}"
        made_up = f", {report['filled']} of them made up to close gaps" if report["filled"] else ""
        typer.echo(f"{name}: {report['bars']} bars{made_up}, {'sound' if report['sound'] else 'NOT SOUND'}")
        for problem in report["problems"]:
            typer.echo(f"  {problem['code']}: {problem['message']}")
        for gap in report["gaps"]:
            typer.echo(f"  gap: {gap['missing']} bars are missing between {gap['after']} and {gap['before']}")
        for remark in report["remarks"]:
            typer.echo(f"  remark, {remark['code']}: {remark['message']}")


def register(root: typer.Typer) -> None:
    """Add the commands of this file to `root`."""
    root.add_typer(app, name="data")
