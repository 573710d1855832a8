"""The options that every command has which runs a strategy on bars of the past, one type per option."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]
Start = Annotated[str | None, typer.Option(help="the first decision, such as 2025-01-01 (UTC)")]
End = Annotated[str | None, typer.Option(help="bars that open from here on are left out")]
Exchange = Annotated[str, typer.Option(help="the exchange the bars were imported for")]
Capital = Annotated[float, typer.Option(help="the equity to start with, in quote currency")]
Fee = Annotated[float, typer.Option(help="the fee of every order that takes, as a ratio")]
MakerFee = Annotated[float | None, typer.Option(help="the fee of orders that rested; default: as --fee")]
Slippage = Annotated[float, typer.Option(help="how much worse than the open orders fill, as a ratio")]
NoFunding = Annotated[bool, typer.Option("--no-funding", help="perpetuals pay no funding")]
VenueLimits = Annotated[bool, typer.Option("--venue-limits", help="sizes in the venue's lots, above its minimums")]
DataVersion = Annotated[str | None, typer.Option(help="run on the bars that an earlier run had")]
