"""Files of bars, and of what lies beside them, into the lake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cashup.clock import timeframe_millis
from cashup.errors import DataError
from cashup.markets.health import require_sound
from cashup.markets.kinds import BESIDE, Kind, beside
from cashup.markets.lake import Lake
from cashup.markets.layouts import read_table
from cashup.markets.merging import merge, source_of, without_filled
from cashup.markets.synthetic import GENERATED
from cashup.strategies.bars import FIELDS, to_index, to_times

TIME_COLUMNS = (
    *("timestamp", "unix", "unix timestamp", "date", "datetime", "time", "open_time", "open time"),
    *("calc_time", "fundingtime", "create_time", "transact_time"),
)
"""How publishers call the time, in the order in which a column is preferred."""

_NAMES = {
    "rate": ("rate", "fundingrate", "funding_rate", "last_funding_rate"),
    "open_interest": ("open_interest", "openinterest", "openinterestamount", "sum_open_interest"),
    "price": ("price",),
    "amount": ("amount", "qty", "quantity", "size"),
    "side": ("side", "is_buyer_maker"),
}
_UNITS = ((1e11, 1_000, 1), (1e14, 1, 1), (1e17, 1, 1_000), (np.inf, 1, 1_000_000))
"""Seconds, milliseconds, microseconds, nanoseconds: below which number, times and divided by what it is in ms."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: how many rows the series has now, and how many of them are new or another than before."""

    bars: int
    added: int
    changed: int
    version: str


def read_file(path: Path, timeframe: str) -> pd.DataFrame:
    """The bars in `path`, in any layout of `layouts`, as a frame as the lake has it, sorted by time.

    Times are numbers since the epoch (s, ms, us or ns, told by their size) or text; text without a zone is UTC. Bars
    that occur twice with the same numbers count once. Raises DataError for anything that is incomplete or wrong.
    """
    frame = to_bars(read_table(path), path)
    require_sound(frame, timeframe, path.name)
    return frame


def import_file(
    lake: Lake, path: Path, exchange: str, symbol: str, timeframe: str, *, replace: bool = False
) -> Imported:
    """Read `path`, check it, and store its bars with those that the lake has of other times; all or nothing.

    Where both have a bar, the file's wins. With `replace`, and when the lake's bars were generated, the file's bars
    take the place of all of them. Raises DataError.
    """
    return store_bars(lake, read_file(path, timeframe), exchange, symbol, timeframe, path.name, replace=replace)


def store_bars(
    lake: Lake, fresh: pd.DataFrame, exchange: str, symbol: str, timeframe: str, source: str, *, replace: bool = False
) -> Imported:
    """What `import_file` does with the bars that it read; `source` says where they came from."""
    if not lake.has(exchange, symbol, timeframe):
        version = lake.write(exchange, symbol, timeframe, fresh, source=source)
        return Imported(len(fresh), len(fresh), 0, version)
    old = lake.read(exchange, symbol, timeframe)
    stored = lake.describe(exchange, symbol, timeframe).source
    if replace or stored == GENERATED:
        version = lake.write(exchange, symbol, timeframe, fresh, source=source)
        return _imported(old, fresh, version)
    new = merge(old, fresh)
    kept = len(new) > len(fresh)
    filled = without_filled(
        lake.filled(exchange, symbol, timeframe), to_times(fresh.index), timeframe_millis(timeframe)
    )
    version = lake.write(
        exchange, symbol, timeframe, new, source=source_of(stored, source) if kept else source, filled=filled
    )
    return _imported(old, new, version)


def import_series(lake: Lake, path: Path, exchange: str, symbol: str, kind: str, *, replace: bool = False) -> Imported:
    """The same for what lies beside bars: `funding`, `open_interest` or `trades`. Raises DataError.

    Of trades the file's take the place of all that the lake has between its first and its last.
    """
    fresh = to_rows(read_table(path), path, beside(kind))
    if not lake.has(exchange, symbol, kind):
        return Imported(len(fresh), len(fresh), 0, lake.write_series(kind, exchange, symbol, fresh, source=path.name))
    old = lake.read_series(kind, exchange, symbol)
    stored = lake.describe(exchange, symbol, kind).source
    fully = replace or stored == GENERATED
    new = fresh if fully else merge(old, fresh, span=not BESIDE[kind].unique)
    source = path.name if fully else source_of(stored, path.name)
    version = lake.write_series(kind, exchange, symbol, new, source=source)
    if not BESIDE[kind].unique:
        return Imported(len(new), max(len(new) - len(old), 0), 0, version)
    return _imported(old, new, version)


def kind_in(table: pd.DataFrame) -> str | None:
    """What a table holds: `bars`, or a kind of BESIDE; None when nothing is recognised."""
    if all(name in table.columns for name in FIELDS[:4]):
        return "bars"
    return next((kind.name for kind in BESIDE.values() if all(_column(table, c) for c in kind.columns)), None)


def timeframe_in(index: pd.Index) -> str:
    """The timeframe that most bars keep to their next one; raises DataError when there are too few to tell."""
    steps = np.diff(to_times(index))
    if not len(steps):
        raise DataError("one bar does not tell its timeframe; name it with --timeframe")
    values, counts = np.unique(steps, return_counts=True)
    step = int(values[int(counts.argmax())])
    for unit, name in ((604_800_000, "w"), (86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")):
        if step and step % unit == 0:
            return f"{step // unit}{name}"
    raise DataError(f"bars {step} ms apart are of no timeframe; name it with --timeframe")


def to_bars(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """A table of a file as a frame of bars, sorted by time. Raises DataError for what is missing or no number."""
    table = _with_volume(table)
    time = next((name for name in TIME_COLUMNS if name in table.columns), None)
    missing = ["timestamp"] * (time is None) + [name for name in FIELDS if name not in table.columns]
    if time is None or missing:
        raise DataError(
            f"{path.name} has no column {missing[0]!r} (it has {', '.join(table.columns[:8])}); bars come as CSV with "
            f"a header that names a time and {', '.join(FIELDS)}, as feather, Parquet, JSON arrays, or as Binance, "
            "freqtrade and CryptoDataDownload publish them"
        )
    return _frame(table, time, {name: name for name in FIELDS}, path)


def to_rows(table: pd.DataFrame, path: Path, kind: Kind) -> pd.DataFrame:
    """A table of a file as a frame of `kind`, sorted by time. Raises DataError."""
    time = next((name for name in TIME_COLUMNS if name in table.columns), None)
    found = {name: _column(table, name) for name in kind.columns}
    if kind.name == "funding" and found["rate"] is None and "open" in table.columns:
        found["rate"] = "open"  # freqtrade keeps rates in the layout of candles
    missing = ["timestamp"] * (time is None) + [name for name, column in found.items() if column is None]
    if time is None or missing:
        raise DataError(
            f"{path.name} has no column {missing[0]!r} (it has {', '.join(table.columns[:8])}); "
            f"{kind.name} need a time and {', '.join(kind.columns)}"
        )
    columns = {name: column for name, column in found.items() if column is not None}
    frame = _frame(table, time, columns, path, unique=kind.unique)
    if kind.unique and bool(frame.index.has_duplicates):
        raise DataError(f"{path.name} has two {kind.name} for one time; fetch it again")
    return frame


def _imported(old: pd.DataFrame, new: pd.DataFrame, version: str) -> Imported:
    both = new.index.intersection(old.index)
    changed = (new.loc[both].to_numpy() != old.loc[both].to_numpy()).any(axis=1)
    return Imported(len(new), len(new) - len(both), int(changed.sum()), version)


def _column(table: pd.DataFrame, name: str) -> str | None:
    return next((column for column in _NAMES[name] if column in table.columns), None)


def _with_volume(table: pd.DataFrame) -> pd.DataFrame:
    """CryptoDataDownload has a volume per currency (`Volume BTC`, `Volume USDT`): the base currency's is the volume."""
    named = [str(name) for name in table.columns if str(name).startswith("volume ")]
    if "volume" in table.columns or not named:
        return table
    symbol = str(table["symbol"].iloc[0]).lower() if "symbol" in table.columns and len(table) else ""
    base = next((name for name in named if symbol.startswith(name.removeprefix("volume "))), named[0])
    return table.rename(columns={base: "volume"})


def _frame(table: pd.DataFrame, time: str, columns: dict[str, str], path: Path, *, unique: bool = True) -> pd.DataFrame:
    data = {name: _numbers(table[column], name, path) for name, column in columns.items()}
    frame = pd.DataFrame(data).set_axis(_times(table[time], path), axis=0)
    if unique:
        frame = frame.loc[~frame.reset_index().duplicated().to_numpy()]
    return frame.sort_index(kind="stable")


def _numbers(column: pd.Series[Any], name: str, path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    if name == "side":
        column = _sides(column)
    numbers: pd.Series[Any] = pd.to_numeric(column, errors="coerce").astype(np.float64)
    bad = numbers.isna() | np.isinf(numbers)
    if bool(bad.any()):
        line = int(bad.to_numpy().argmax())
        word = "nothing" if pd.isna(column.iloc[line]) else repr(column.iloc[line])
        raise DataError(
            f"{path.name} has {word} where row {line + 1} should have the {name}; "
            "the file is cut off or damaged, so nothing was stored"
        )
    return numbers.to_numpy()


def _sides(column: pd.Series[Any]) -> pd.Series[Any]:
    """1 when the taker bought, -1 when it sold; the column says `buy` and `sell`, or whether the buyer rested."""
    words: Sequence[str] = column.astype(str).str.lower().tolist()
    told = {"buy": 1.0, "sell": -1.0, "false": 1.0, "true": -1.0, "1": 1.0, "-1": -1.0, "1.0": 1.0, "-1.0": -1.0}
    return pd.Series([told.get(word, word) for word in words], name=column.name)


def _times(column: pd.Series[Any], path: Path) -> pd.DatetimeIndex:
    try:
        if pd.api.types.is_datetime64_any_dtype(column):
            moments = pd.DatetimeIndex(column)
        elif pd.api.types.is_numeric_dtype(column):
            return to_index(_epochs(column))
        else:
            moments = pd.DatetimeIndex(pd.to_datetime(column, utc=True, format="ISO8601"))
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"the column {column.name} of {path.name} holds no times: {error}") from error
    if bool(moments.isna().any()):
        raise DataError(f"row {int(moments.isna().argmax()) + 1} of {path.name} has no time; the file is cut off")
    aware = moments.tz_localize("UTC") if moments.tz is None else moments.tz_convert("UTC")
    return to_index(to_times(aware))


def _epochs(column: pd.Series[Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Numbers since the epoch in ms. The unit is told row by row: publishers changed theirs in the middle of a file."""
    if bool(column.isna().any()):
        raise ValueError(f"row {int(column.isna().to_numpy().argmax()) + 1} has none")
    numbers = column.to_numpy()
    size = np.abs(numbers.astype(np.float64))
    moments = numbers.astype(np.int64)
    conditions = [size < limit for limit, _, _ in _UNITS]
    return np.select(conditions, [moments * factor // divisor for _, factor, divisor in _UNITS])
