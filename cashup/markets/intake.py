"""One file into the lake, with what its name and its content say about it filled in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cashup.errors import DataError
from cashup.markets.filenames import guess
from cashup.markets.importer import (
    Imported,
    import_series,
    kind_in,
    store_bars,
    timeframe_in,
    to_bars,
)
from cashup.markets.lake import Lake
from cashup.markets.layouts import read_table
from cashup.markets.repair import Step, repaired_file

EXCHANGE = "gate"
TIMEFRAME = "1h"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller says about a file; None is to be found out. `timeframe` is of bars alone."""

    exchange: str | None = None
    symbol: str | None = None
    timeframe: str | None = None
    kind: str | None = None
    replace: bool = False
    drop_duplicates: bool = False
    drop_bad: bool = False


@dataclass(frozen=True, slots=True)
class Intake:
    """What came in: where it was put (`timeframe` is the kind for other series than bars), and what was guessed."""

    exchange: str
    symbol: str
    timeframe: str
    guessed: tuple[str, ...]
    steps: tuple[Step, ...]
    done: Imported


def take_in(lake: Lake, path: Path, wish: Wish) -> Intake:
    """Read `path`, find out what it holds where `wish` does not say, and store it. Raises DataError."""
    table = read_table(path)
    name = guess(path)
    kind = wish.kind or name.kind or kind_in(table) or "bars"
    symbol = wish.symbol or name.symbol
    if symbol is None:
        raise DataError(f"the name of {path.name} does not tell what it is of; add --symbol, such as --symbol BTC/USDT")
    exchange = wish.exchange or name.exchange or EXCHANGE
    if kind != "bars":
        done = import_series(lake, path, exchange, symbol, kind, replace=wish.replace)
        return Intake(exchange, symbol, kind, _guessed(wish, exchange, symbol, kind), (), done)
    frame = to_bars(table, path)
    timeframe = wish.timeframe or name.timeframe or (timeframe_in(frame.index) if len(frame) > 1 else TIMEFRAME)
    mended = repaired_file(frame, timeframe, path.name, drop_duplicates=wish.drop_duplicates, drop_bad=wish.drop_bad)
    done = store_bars(lake, mended.frame, exchange, symbol, timeframe, path.name, replace=wish.replace)
    return Intake(exchange, symbol, timeframe, _guessed(wish, exchange, symbol, timeframe), mended.steps, done)


def _guessed(wish: Wish, exchange: str, symbol: str, timeframe: str) -> tuple[str, ...]:
    """In words, what the caller did not say."""
    told = {
        "exchange": (wish.exchange, exchange),
        "symbol": (wish.symbol, symbol),
        "timeframe": (wish.timeframe or wish.kind, timeframe),
    }
    return tuple(f"{name} {found}" for name, (said, found) in told.items() if said is None)
