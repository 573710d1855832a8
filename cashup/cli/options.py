"""The options that every command has which runs a strategy on bars of the past, one type per option."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

Notebook = Annotated[Path, typer.Argument(help="the notebook, such as notebooks/sma_cross.ipynb")]

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

Terms = dict[str, Any]
"""The argument of a command under `with_terms`: what was told of a run, as RunSpec takes it."""

_TERMS: dict[str, tuple[Any, Any]] = {
    "start": (Start, None),
    "end": (End, None),
    "exchange": (Exchange, "gate"),
    "capital": (Capital, 10_000.0),
    "fee": (Fee, 0.001),
    "slippage": (Slippage, 0.0),
    "maker_fee": (MakerFee, None),
    "no_funding": (NoFunding, False),
    "data_version": (DataVersion, None),
}
_LIMITS = {"venue_limits": (VenueLimits, False)}


def with_terms(*, venue_limits: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The decorator of a command: in place of its argument `terms` it has the options that say what a run is on.

    `terms` then gets them as a dict for RunSpec. `venue_limits` says whether the command has that option.
    """
    options = _TERMS | (_LIMITS if venue_limits else {})

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**given: Any) -> None:
            told = {name: given.pop(name) for name in options}
            command(**given, terms=told | {"funding": not told.pop("no_funding")})

        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [one for own_one in own for one in (_shared(options) if own_one.name == "terms" else [own_one])]
        # Typer reads both: the signature for the order and the defaults, the annotations for the types.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def _shared(options: dict[str, tuple[Any, Any]]) -> list[inspect.Parameter]:
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(name, kind, default=default, annotation=annotation)
        for name, (annotation, default) in options.items()
    ]
