"""Files as their publishers laid them out, into tables whose columns have a name. The layout is found in the content.

Known: CSV with a header; Binance's zips (klines, funding rates, metrics, trades; with a header or without); freqtrade's
feather and JSON; CryptoDataDownload; arrays and objects as ccxt gives them, as JSON; Parquet; each also gzipped.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from cashup.errors import DataError

_KLINES = [
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "count",
    "taker_buy",
    "taker_buy_quote",
    "ignore",
]
_CANDLES = ["timestamp", "open", "high", "low", "close", "volume"]
_TRADES = ["timestamp", "id", "type", "side", "price", "amount", "cost"]
_AGGREGATED = [
    "agg_trade_id",
    "price",
    "qty",
    "first_trade_id",
    "last_trade_id",
    "time",
    "is_buyer_maker",
    "is_best_match",
]
_SINGLE = ["id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "is_best_match"]

_HEADERLESS = {12: _KLINES, 6: _CANDLES, 8: _AGGREGATED, 7: _SINGLE}
"""What the columns are called in a CSV without a header that has so many."""


def read_table(path: Path) -> pd.DataFrame:
    """The content of `path` with lower-case column names. Raises DataError for a file that is damaged or unknown."""
    if not path.is_file():
        raise DataError(f"there is no file {path}; check the path")
    table = _decode(path.read_bytes(), path.name, whole=False)
    table.columns = pd.Index([str(name).strip().lower() for name in table.columns])
    return table


def _decode(content: bytes, name: str, *, whole: bool) -> pd.DataFrame:
    """`whole`: a checksum vouches for the end of the content."""
    for mark, read in _CONTAINERS.items():
        if content.startswith(mark):
            return read(content, name)
    if content.lstrip()[:1] in (b"[", b"{"):
        return _json(content, name)
    return _csv(content, name, whole=whole)


def _feather(content: bytes, name: str) -> pd.DataFrame:
    from pyarrow import feather

    return _arrow(lambda: feather.read_table(io.BytesIO(content)), name)


def _parquet(content: bytes, name: str) -> pd.DataFrame:
    from pyarrow import parquet

    return _arrow(lambda: parquet.read_table(io.BytesIO(content)), name)


def _arrow(read: Callable[[], Any], name: str) -> pd.DataFrame:
    import pyarrow as pa

    try:
        frame: pd.DataFrame = read().to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name} is damaged or cut off ({error}); fetch it again") from error
    return frame.reset_index() if frame.index.name else frame


def _zip(content: bytes, name: str) -> pd.DataFrame:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [member for member in archive.namelist() if not member.endswith("/")]
            parts = [_decode(archive.read(member), f"{member} in {name}", whole=True) for member in members]
    except (zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{name} is damaged or cut off ({error}); fetch it again") from error
    if not parts:
        raise DataError(f"{name} is an empty archive; fetch it again")
    return pd.concat(parts, ignore_index=True)


def _gzip(content: bytes, name: str) -> pd.DataFrame:
    try:
        inside = gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise DataError(f"{name} is damaged or cut off ({error}); fetch it again") from error
    return _decode(inside, name, whole=True)


_CONTAINERS: dict[bytes, Callable[[bytes, str], pd.DataFrame]] = {
    b"ARROW1": _feather,
    b"FEA1": _feather,
    b"PAR1": _parquet,
    b"PK\x03\x04": _zip,
    b"\x1f\x8b": _gzip,
}


def _json(content: bytes, name: str) -> pd.DataFrame:
    """Arrays of numbers as ccxt and freqtrade write them, or objects with names."""
    try:
        rows = json.loads(content)
    except ValueError as error:
        raise DataError(f"{name} is no complete JSON ({error}); fetch it again") from error
    if not isinstance(rows, list) or not rows:
        raise DataError(
            f"{name} holds no list of rows; JSON of bars looks like [[time, open, high, low, close, volume]]"
        )
    if all(isinstance(row, dict) for row in rows):
        return pd.DataFrame(rows)
    widths = {len(row) if isinstance(row, list) else 0 for row in rows}
    columns = {len(_CANDLES): _CANDLES, len(_TRADES): _TRADES}.get(max(widths))
    if len(widths) > 1 or columns is None:
        raise DataError(
            f"{name} has rows of {' and '.join(map(str, sorted(widths)))} values; bars have 6 "
            "(time, open, high, low, close, volume), freqtrade's trades have 7"
        )
    return pd.DataFrame(rows, columns=columns)


def _csv(content: bytes, name: str, *, whole: bool) -> pd.DataFrame:
    if not content.strip():
        raise DataError(f"{name} is empty; fetch it again")
    if not whole and not content.endswith(b"\n"):
        raise DataError(
            f"the last line of {name} has no line break, so it may be cut off; fetch the file again, "
            "or add the line break if the line is complete"
        )
    first = content.lstrip(b"\xef\xbb\xbf").split(b"\n", 1)[0]
    # CryptoDataDownload puts its address above the header.
    skipped = int(first.lstrip().startswith(b"http"))
    columns = None if skipped else _without_header(first)
    try:
        return pd.read_csv(io.BytesIO(content), encoding="utf-8-sig", skiprows=skipped, names=columns)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{name} is no CSV of bars: {error}") from error


def _without_header(line: bytes) -> list[str] | None:
    """The names of the columns of a known layout when `line` is a row of it already."""
    fields = line.strip().split(b",")
    columns = _HEADERLESS.get(len(fields))
    return columns if columns and all(_is_value(field) for field in fields) else None


def _is_value(field: bytes) -> bool:
    if field.strip().lower() in (b"true", b"false"):
        return True
    try:
        float(field)
    except ValueError:
        return False
    return True
