"""The simulator as a process: bars from the lake, one server, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import orjson
import uvloop

from cashup.clock import isoformat, to_millis
from cashup.errors import UsageError
from cashup.exchanges.rules import GATE_FEE, gate_market
from cashup.markets.lake import Lake
from cashup.simulator.faults.schedule import Schedule
from cashup.simulator.server import Simulator
from cashup.simulator.tape import Tape
from cashup.simulator.venue import Venue
from cashup.types import Millis, Symbol


@dataclass(frozen=True, slots=True)
class Options:
    """What to serve. `start` and `end` are ISO dates in UTC; `speed` None is lockstep.

    With a `fault_seed`, `fault_rate` faults a minute come by themselves.
    """

    symbols: tuple[str, ...]
    lake: Path | str
    control_file: Path
    timeframe: str = "1h"
    exchange: str = "gate"
    start: str | None = None
    end: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    speed: float | None = None
    fee: Decimal = GATE_FEE
    rate_limit: bool = True
    strict_text: bool = False
    keep: int = 50_000
    fault_seed: int | None = None
    fault_rate: float = 1.0


def open_venue(options: Options) -> Venue:
    """A venue on the lake's bars; raises DataError when they are not there."""
    lake = Lake(options.lake)
    bars = lake.bars(options.exchange, options.symbols, options.timeframe, None, moment(options.end))
    markets = {}
    for symbol in options.symbols:
        # The steps of an unknown pair follow from the whole series, so that everyone derives the same.
        closes = lake.read(options.exchange, symbol, options.timeframe)["close"].tolist()
        markets[Symbol(symbol)] = gate_market(symbol, closes, fee=options.fee)
    return Venue(Tape(bars), markets, start=moment(options.start), strict_text=options.strict_text)


def moment(text: str | None) -> Millis | None:
    """An ISO date or time as milliseconds; without a zone it is UTC."""
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a date; write it like 2025-01-01 or 2025-01-01T12:00") from error
    return to_millis(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))


def serve(options: Options, *, as_json: bool = False) -> None:
    """Run until SIGTERM or SIGINT."""
    uvloop.run(_serve(options, as_json=as_json))


async def _serve(options: Options, *, as_json: bool) -> None:
    venue = open_venue(options)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    seed = options.fault_seed
    server = Simulator(
        venue,
        host=options.host,
        port=options.port,
        speed=options.speed,
        rate_limit=options.rate_limit,
        keep=options.keep,
        seed=seed or 0,
        schedule=None if seed is None else Schedule(seed, options.fault_rate),
    )
    async with server:
        _write_private(options.control_file, {"url": server.url, "control": server.control_url, "token": server.token})
        try:
            _announce(server, options.control_file, as_json=as_json)
            await stop.wait()
        finally:
            options.control_file.unlink(missing_ok=True)


def _announce(server: Simulator, control_file: Path, *, as_json: bool) -> None:
    """Say where it listens, and where the control token lies; the token itself is never printed."""
    venue = server.venue
    state = server.control.state()
    if as_json:
        answer = {"url": server.url, "control": server.control_url, "control_file": str(control_file), **state}
        sys.stdout.write(orjson.dumps(answer).decode() + "\n")
        sys.stdout.flush()
        return
    pace = "lockstep" if server.speed is None else f"{server.speed:g} bars/s"
    begin = isoformat(venue.tape.times[venue.first])
    sys.stderr.write(
        f"Simulated Gate.io at {server.url}: {', '.join(venue.markets)}, {venue.tape.timeframe} from {begin}, {pace}.\n"
        f"Its control token is in {control_file}.\n"
    )


def _write_private(path: Path, content: dict[str, str]) -> None:
    """Write a file that only its owner can read, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps(content))
    temporary.replace(path)
