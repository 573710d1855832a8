"""`cashup data download / repair / resample`: bars of the past from an exchange, mended, and at another length."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

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

if TYPE_CHECKING:
    from tqdm import tqdm

    from cashup.markets.lake import Lake, Series
    from cashup.markets.repair import Repair

BaseUrl = Annotated[str | None, typer.Option(help="another server that speaks the exchange's protocol")]


def download(
    symbol: Annotated[list[str], typer.Option(help="what to fetch; may be given several times")],
    exchange: Exchange = "gate",
    timeframe: Timeframe = "1h",
    start: Annotated[str, typer.Option(help="from when, UTC")] = "2020-01-01",
    end: Annotated[str | None, typer.Option(help="until before when, UTC; default now")] = None,
    fill_gaps: Annotated[bool, typer.Option("--fill-gaps", help="ask again for every bar that is missing")] = False,
    funding: Annotated[bool, typer.Option("--funding", help="funding rates as well")] = False,
    trades: Annotated[bool, typer.Option("--trades", help="single trades as well")] = False,
    jobs: Annotated[int, typer.Option(help="symbols side by side", min=1)] = 4,
    base_url: BaseUrl = None,
    as_json: Json = False,
) -> None:
    """Fetch closed candles into the lake, behind those it has. Ctrl-C keeps what came; run it again to go on."""
    from cashup.clock import WallClock, parse_time
    from cashup.markets.download import Download, download_funding, download_trades, together
    from cashup.markets.public import open_client

    lake = open_lake()
    first, last = parse_time(start), parse_time(end) if end else None
    came: dict[str, dict[str, int]] = {name: {} for name in symbol}

    async def fetch() -> None:
        with Progress() as progress:
            async with open_client(exchange, base_url) as client:
                wanted = Download(
                    lake, client, exchange, timeframe, first, last, fill_gaps=fill_gaps, told=progress.told
                )
                for done in await together(wanted, symbol, jobs):
                    came[done.symbol]["bars"] = done.bars
                for name in symbol if funding else ():
                    came[name]["funding"] = await download_funding(lake, client, exchange, name, first)
                for name in symbol if trades else ():
                    until = last if last is not None else WallClock().now()
                    came[name]["trades"] = await download_trades(lake, client, exchange, name, first, until)

    asyncio.run(fetch())
    if as_json:
        print_json({"exchange": exchange, "timeframe": timeframe, "symbols": came})
        return
    for name, counts in came.items():
        words = ", ".join(f"{count} new {kind}" for kind, count in counts.items())
        typer.echo(f"{name} {timeframe} on {exchange}: {words}")


def repair(
    symbol: OnlySymbol = None,
    exchange: OnlyExchange = None,
    timeframe: OnlyTimeframe = None,
    drop_duplicates: Annotated[bool, typer.Option("--drop-duplicates", help="keep the last bar of a time")] = False,
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="drop bars that cannot be")] = False,
    drop_outliers: Annotated[bool, typer.Option("--drop-outliers", help="drop moves beyond belief")] = False,
    from_exchange: Annotated[bool, typer.Option("--from-exchange", help="fetch what is missing")] = False,
    fill_gaps: Annotated[str, typer.Option(help="none, or flat: bars at the last close, marked as made up")] = "none",
    yes: Annotated[bool, typer.Option("--yes", help="do it; without, only say what would be done")] = False,
    base_url: BaseUrl = None,
    as_json: Json = False,
) -> None:
    """Mend bars in the ways that are named; the bars before stay readable as an older version."""
    from cashup.errors import UsageError
    from cashup.markets.repair import repair as mend

    if fill_gaps not in ("none", "flat"):
        raise UsageError(f"--fill-gaps is none or flat, not {fill_gaps!r}")
    lake = open_lake()
    documents = []
    for series in choose(lake, symbol, exchange, timeframe):
        frame = lake.read(series.exchange, series.symbol, series.timeframe)
        fetched = _missing_bars(lake, series, base_url) if from_exchange else None
        done = mend(
            frame,
            series.timeframe,
            drop_duplicates=drop_duplicates,
            drop_bad=drop_bad,
            drop_outliers=drop_outliers,
            fill=fill_gaps,  # type: ignore[arg-type]
            fetched=fetched,
            filled=lake.filled(series.exchange, series.symbol, series.timeframe),
        )
        if yes and done.steps:
            _store(lake, series, done)
        documents.append(described(series) | {"done": yes, "steps": [asdict(step) for step in done.steps]})
        if not as_json:
            _print_repair(series, done, done_now=yes)
    if as_json:
        print_json({"series": documents})


def resample(
    symbol: Annotated[str, typer.Option(help="what to resample")],
    to: Annotated[str, typer.Option(help="the longer timeframe, such as 1h")],
    exchange: Exchange = "gate",
    timeframe: Timeframe = "1m",
    replace: Annotated[bool, typer.Option("--replace", help="in place of bars that came from elsewhere")] = False,
    as_json: Json = False,
) -> None:
    """Store bars of a longer timeframe, made of shorter ones; incomplete bars at the ends are left out."""
    from cashup.errors import Conflict
    from cashup.markets.resample import resample as lengthen

    lake = open_lake()
    made = lengthen(lake.read(exchange, symbol, timeframe), timeframe, to)
    if lake.has(exchange, symbol, to) and not replace:
        before = lake.describe(exchange, symbol, to).source
        if not before.startswith("resampled"):
            raise Conflict(
                f"the lake has {to} bars of {symbol} from {before}; --replace takes the resampled ones instead"
            )
    lake.write(exchange, symbol, to, made, source=f"resampled from {timeframe}")
    series = lake.describe(exchange, symbol, to)
    if as_json:
        print_json(described(series))
        return
    typer.echo(f"{symbol} {to} on {exchange}: {series.bars} bars from {timeframe}")


class Progress:
    """A progress bar per symbol on stderr, when a person is there to see it."""

    def __init__(self) -> None:
        self._bars: dict[str, tqdm[Any]] = {}

    def __enter__(self) -> Progress:
        """Bars appear when they are told of."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was found."""
        for bar in self._bars.values():
            bar.close()

    def told(self, symbol: str, done: int, total: int) -> None:
        """A page of `symbol` came."""
        from tqdm import tqdm

        if symbol not in self._bars:
            self._bars[symbol] = tqdm(total=total, desc=symbol, unit=" bars", disable=None, leave=False)
        bar = self._bars[symbol]
        bar.update(done - bar.n)


def _missing_bars(lake: Lake, series: Series, base_url: str | None) -> Any:
    """What the exchange has where the lake has a hole or a made-up bar."""
    from cashup.markets.download import fetch_missing
    from cashup.markets.public import open_client

    async def fetch() -> Any:
        async with open_client(series.exchange, base_url) as client:
            return await fetch_missing(lake, client, series.exchange, series.symbol, series.timeframe)

    return asyncio.run(fetch())


def _store(lake: Lake, series: Series, done: Repair) -> None:
    lake.write(series.exchange, series.symbol, series.timeframe, done.frame, source=series.source, filled=done.filled)


def _print_repair(series: Series, done: Repair, *, done_now: bool) -> None:
    name = f"{series.symbol} {series.timeframe} on {series.exchange}"
    if not done.steps:
        typer.echo(f"{name}: nothing to do")
    for step in done.steps:
        typer.echo(f"{name}: {'' if done_now else 'would '}{step.message}")
    if done.steps and not done_now:
        typer.echo("nothing was changed; add --yes to do it")


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command()(download)
    app.command()(repair)
    app.command()(resample)
