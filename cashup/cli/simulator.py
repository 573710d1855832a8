"""`cashup simulator`: a local server that speaks Gate.io API v4 and replays bars from the lake."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def simulator(
    symbols: Annotated[
        list[str] | None, typer.Argument(help="what to trade, such as BTC/USDT ETH/USDT", show_default=False)
    ] = None,
    timeframe: Annotated[str, typer.Option(help="the timeframe of the bars in the lake")] = "1h",
    exchange: Annotated[str, typer.Option(help="the exchange the bars were imported for")] = "gate",
    start: Annotated[str | None, typer.Option(help="the first bar that is open, such as 2025-01-01 (UTC)")] = None,
    end: Annotated[str | None, typer.Option(help="bars that open from here on are left out")] = None,
    host: Annotated[str, typer.Option(help="the address to listen on")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="the port; 0 takes a free one; default from the settings")] = None,
    speed: Annotated[float | None, typer.Option(help="bars per second; default: lockstep")] = None,
    lockstep: Annotated[bool, typer.Option("--lockstep", help="stand still until /control steps the market")] = False,
    fee: Annotated[str, typer.Option(help="the fee on every trade, as a fraction")] = "0.001",
    rate_limit: Annotated[bool, typer.Option(help="enforce Gate's published rate limits")] = True,
    strict_text: Annotated[bool, typer.Option("--strict-text", help="refuse a client order id twice")] = False,
    keep: Annotated[int, typer.Option(help="how many requests to remember for whoever checks", min=1)] = 50_000,
    faults: Annotated[bool, typer.Option("--faults", help="print the faults that can be switched on, and end")] = False,
    fault_seed: Annotated[int | None, typer.Option(help="misbehave by this seed; default: never by itself")] = None,
    fault_rate: Annotated[float, typer.Option(help="faults a minute, with --fault-seed")] = 1.0,
    control_file: Annotated[
        Path | None, typer.Option(help="where to write address and control token (mode 0600)")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout when it listens")] = False,
) -> None:
    """Serve a simulated Gate.io on this machine until it is stopped."""
    from decimal import Decimal, InvalidOperation

    from cashup.errors import UsageError

    if faults:
        _print_faults(as_json=as_json)
        return
    if not symbols:
        raise UsageError("name what to trade, such as `cashup simulator BTC/USDT`")
    if lockstep and speed is not None:
        raise UsageError("--lockstep and --speed exclude each other; choose one")
    try:
        fraction = Decimal(fee)
    except InvalidOperation as error:
        raise UsageError(f"{fee!r} is not a fee; write a fraction such as 0.001") from error

    from cashup.settings import load_settings
    from cashup.simulator.serve import Options, serve

    settings = load_settings()
    serve(
        Options(
            symbols=tuple(symbols),
            timeframe=timeframe,
            exchange=exchange,
            start=start,
            end=end,
            host=host,
            port=settings.simulator_port if port is None else port,
            speed=speed,
            fee=fraction,
            rate_limit=rate_limit,
            strict_text=strict_text,
            keep=keep,
            fault_seed=fault_seed,
            fault_rate=fault_rate,
            lake=settings.lake_path,
            control_file=control_file or settings.home_path / "keys" / "simulator.json",
        ),
        as_json=as_json,
    )


def _print_faults(*, as_json: bool) -> None:
    from cashup.simulator.faults.catalogue import KINDS

    kinds = [kind.row() for kind in KINDS.values()]
    if as_json:
        import orjson

        typer.echo(orjson.dumps(kinds).decode())
        return
    for row in kinds:
        options = " ".join(f"{name}={value}" for name, value in row["options"].items())
        typer.echo(f"{row['kind']} ({row['layer']}) {options}".rstrip() + f"\n    {row['about']}")
