"""`cashup live report`: a deployment beside a re-run of its notebook on the bars of its life."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cashup.client import Client
    from cashup.research.live_report import LiveReport


def report(
    name: Annotated[str, typer.Argument(help="the deployment")],
    since: Annotated[str | None, typer.Option(help="the first bar, such as 2025-01-31 (UTC); default: all")] = None,
    until: Annotated[str | None, typer.Option(help="bars before this only")] = None,
    days: Annotated[int | None, typer.Option(help="instead of --since: the newest so many days", min=1)] = None,
    fee: Annotated[float | None, typer.Option(help="the modelled fee; default: that of its version, or 0.001")] = None,
    slippage: Annotated[float | None, typer.Option(help="the modelled slippage; likewise, or 0")] = None,
    html: Annotated[Path | None, typer.Option(help="where the page goes; default: reports/ under the home")] = None,
    store: Annotated[bool, typer.Option("--store", help="keep it for the dashboard; outside the band: alert")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """Run a deployment's notebook again on the bars of its life and split the difference. Exit 1 outside the band.

    Each decision is compared (same target?), and the difference of the results is split into data revision, signal,
    missed bars, orders by hand, risk, rounding, price, orders that were not filled, and fees; the parts sum to it
    exactly. Nothing of the deployment is touched.
    """
    import json

    from cashup.client import Client
    from cashup.clock import isoformat
    from cashup.research.live_rerun import live_report
    from cashup.research.reporting.waterfall import save
    from cashup.settings import load_settings

    settings = load_settings()
    with Client.from_settings(settings) as client:
        made = live_report(
            client, name, settings, since=_since(since, days), until=_time(until), fee=fee, slippage=slippage
        )
        if store:
            _store(client, made)
    place = html or settings.home_path / "reports" / name / f"{isoformat(made.facts.last.bar)[:10]}.html"
    save(made, place)
    if as_json:
        typer.echo(json.dumps(made.to_json() | {"html": str(place)}))
    else:
        typer.echo(made.report())
        typer.echo(f"page: {place}")
    if not made.in_band:
        raise typer.Exit(1)


def _since(since: str | None, days: int | None) -> int | None:
    from cashup.clock import WallClock
    from cashup.errors import UsageError

    if days is None:
        return _time(since)
    if since is not None:
        raise UsageError("--since and --days say the same; give one of them")
    return WallClock().now() - days * 86_400_000


def _time(text: str | None) -> int | None:
    from cashup.clock import parse_time

    return None if text is None else parse_time(text)


def _store(client: Client, made: LiveReport) -> None:
    document = made.to_json(stored=True)
    parts = {name: f"{amount:f}" for name, amount in made.split.parts.items()}
    client.add_report(
        made.deployment,
        {
            "first_bar": made.facts.first.bar,
            "last_bar": made.facts.last.bar,
            "total": f"{made.split.total:f}",
            "parts": parts,
            "document": document,
        },
    )
