"""What the commands about the lake share: opening it, choosing from it, describing it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cashup.markets.lake import Lake, Series

Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]
Exchange = Annotated[str, typer.Option(help="the exchange, in ccxt's spelling")]
Timeframe = Annotated[str, typer.Option(help="the length of a bar, such as 1m, 1h or 1d")]
OnlySymbol = Annotated[str | None, typer.Option("--symbol", help="only this one")]
OnlyExchange = Annotated[str | None, typer.Option("--exchange", help="only this one")]
OnlyTimeframe = Annotated[str | None, typer.Option("--timeframe", help="only this one")]


def open_lake() -> Lake:
    """The lake of the settings."""
    from cashup.markets.lake import Lake
    from cashup.settings import load_settings

    return Lake(load_settings().lake_path)


def choose(lake: Lake, symbol: str | None, exchange: str | None, timeframe: str | None) -> list[Series]:
    """The series of bars that fit; None fits everything."""
    return [
        series
        for series in lake.list()
        if symbol in (None, series.symbol)
        and exchange in (None, series.exchange)
        and timeframe in (None, series.timeframe)
    ]


def described(series: Series) -> dict[str, Any]:
    """A series as JSON."""
    from cashup.clock import isoformat
    from cashup.markets.kinds import BESIDE

    return {
        "exchange": series.exchange,
        "symbol": series.symbol,
        "timeframe": series.timeframe,
        "kind": series.timeframe if series.timeframe in BESIDE else "bars",
        "bars": series.bars,
        "first": isoformat(series.first),
        "last": isoformat(series.last),
        "version": series.version,
        "source": series.source,
        "filled": series.filled,
    }


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(document))
