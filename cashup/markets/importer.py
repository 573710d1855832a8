"""Files of bars, as their publishers laid them out, into frames of bars. The layout is found in the content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cashup.errors import DataError
from cashup.markets.health import require_sound
from cashup.markets.lake import Lake
from cashup.markets.synthetic import GENERATED
from cashup.strategies.bars import FIELDS, to_index, to_times

TIME_COLUMNS = ("timestamp", "date", "datetime", "time", "open_time", "unix")
"""How publishers call the open time, in the order in which a column is preferred."""

_UNITS = ((1e11, "s"), (1e14, "ms"), (1e17, "us"), (np.inf, "ns"))


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: how many bars the file had, and how many of the lake's are new or another now."""

    bars: int
    added: int
    changed: int
    version: str


def read_file(path: Path, timeframe: str) -> pd.DataFrame:
    """The bars in `path` (CSV with a header, feather or Parquet) as a frame as the lake has it, sorted by time.

    Times are numbers since the epoch (s, ms, us or ns, told by their size) or text; text without a zone is UTC. Bars
    that occur twice with the same numbers count once. Raises DataError for anything that is incomplete or wrong.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}; check the path")
    with path.open("rb") as file:
        start = file.read(8)
    table = _reader(start)(path)
    frame = _to_bars(table, path)
    require_sound(frame, timeframe, path.name)
    return frame


def import_file(
    lake: Lake, path: Path, exchange: str, symbol: str, timeframe: str, *, replace: bool = False
) -> Imported:
    """Read `path`, check it, and store its bars with those that the lake has of other times; all or nothing.

    Where both have a bar, the file's wins. With `replace`, and when the lake's bars were generated, the file's bars
    take the place of all of them. Raises DataError.
    """
    fresh = read_file(path, timeframe)
    source = path.name
    old: pd.DataFrame | None = None
    if lake.has(exchange, symbol, timeframe):
        old = lake.read(exchange, symbol, timeframe)
        stored = lake.describe(exchange, symbol, timeframe).source
        if not replace and stored != GENERATED:
            kept = old.loc[~old.index.isin(fresh.index)]
            source = ", ".join(dict.fromkeys([*stored.split(", "), source])) if len(kept) else source
            merged = pd.concat([kept, fresh]).sort_index()
            return _store(lake, exchange, symbol, timeframe, old, merged, source)
    return _store(lake, exchange, symbol, timeframe, old, fresh, source)


def _store(
    lake: Lake, exchange: str, symbol: str, timeframe: str, old: pd.DataFrame | None, new: pd.DataFrame, source: str
) -> Imported:
    version = lake.write(exchange, symbol, timeframe, new, source=source)
    if old is None:
        return Imported(len(new), len(new), 0, version)
    both = new.index.intersection(old.index)
    changed = (new.loc[both].to_numpy() != old.loc[both].to_numpy()).any(axis=1)
    return Imported(len(new), len(new) - len(both), int(changed.sum()), version)


def _reader(start: bytes) -> Callable[[Path], pd.DataFrame]:
    if start.startswith((b"ARROW1", b"FEA1")):
        return _read_feather
    if start.startswith(b"PAR1"):
        return _read_parquet
    return _read_csv


def _read_feather(path: Path) -> pd.DataFrame:
    from pyarrow import feather

    return _arrow(lambda: feather.read_table(path), path)


def _read_parquet(path: Path) -> pd.DataFrame:
    from pyarrow import parquet

    return _arrow(lambda: parquet.read_table(path), path)


def _arrow(read: Callable[[], Any], path: Path) -> pd.DataFrame:
    import pyarrow as pa

    try:
        frame: pd.DataFrame = read().to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name} is damaged or cut off ({error}); fetch it again") from error
    return frame.reset_index() if frame.index.name in TIME_COLUMNS else frame


def _read_csv(path: Path) -> pd.DataFrame:
    text = path.read_bytes()
    if not text.strip():
        raise DataError(f"{path.name} is empty; fetch it again")
    if not text.endswith(b"\n"):
        raise DataError(
            f"the last line of {path.name} has no line break, so it may be cut off; fetch the file again, "
            "or add the line break if the line is complete"
        )
    try:
        return pd.read_csv(path, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} is no CSV of bars: {error}") from error


def _to_bars(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    table.columns = pd.Index([str(name).strip().lower() for name in table.columns])
    time = next((name for name in TIME_COLUMNS if name in table.columns), None)
    missing = ["timestamp"] * (time is None) + [name for name in FIELDS if name not in table.columns]
    if time is None or missing:
        raise DataError(
            f"{path.name} has no column {missing[0]!r} (it has {', '.join(table.columns[:8])}); "
            f"a file of bars has a header with a time and {', '.join(FIELDS)}"
        )
    data = {name: _numbers(table[name], path) for name in FIELDS}
    frame = pd.DataFrame(data).set_axis(_times(table[time], path), axis=0)
    frame = frame.loc[~_same_again(frame)]
    return frame.sort_index(kind="stable")


def _same_again(frame: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.bool_]]:
    repeated: np.ndarray[Any, np.dtype[np.bool_]] = frame.reset_index().duplicated().to_numpy()
    return repeated


def _numbers(column: pd.Series[Any], path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    numbers: pd.Series[Any] = pd.to_numeric(column, errors="coerce").astype(np.float64)
    bad = numbers.isna() | np.isinf(numbers)
    if bool(bad.any()):
        line = int(bad.to_numpy().argmax())
        word = "nothing" if pd.isna(column.iloc[line]) else repr(column.iloc[line])
        raise DataError(
            f"{path.name} has {word} where row {line + 1} should have the {column.name}; "
            "the file is cut off or damaged, so nothing was stored"
        )
    return numbers.to_numpy()


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
    if bool(column.isna().any()):
        raise ValueError(f"row {int(column.isna().to_numpy().argmax()) + 1} has none")
    numbers = column.to_numpy()
    unit = next(name for limit, name in _UNITS if abs(float(numbers.max())) < limit)
    moments: np.ndarray[Any, np.dtype[np.int64]] = numbers.astype(np.int64).astype(f"M8[{unit}]").astype("M8[ms]")
    return moments.astype(np.int64)
