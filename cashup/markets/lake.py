"""The lake: bars as Parquet, one file per exchange, symbol and timeframe."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from cashup.clock import isoformat, timeframe_millis, to_millis
from cashup.errors import DataError
from cashup.markets.health import require_sound
from cashup.strategies.bars import FIELDS, Bars, to_index, to_times
from cashup.strategies.symbols import check_symbol
from cashup.types import Millis

SUFFIX = ".parquet"
_ENCODING = {"timestamp": "DELTA_BINARY_PACKED"} | dict.fromkeys(FIELDS, "BYTE_STREAM_SPLIT")


@dataclass(frozen=True, slots=True)
class Series:
    """What the lake says about one file of bars. `first` and `last` are open times in ms; `source` is its origin."""

    exchange: str
    symbol: str
    timeframe: str
    bars: int
    first: Millis
    last: Millis
    version: str
    source: str
    path: Path


class Lake:
    """The bars under one folder: `<exchange>/<BTC_USDT>/<timeframe>.parquet`.

    A file is replaced as a whole: readers see the old bars or the new ones, never a part, and a failed write leaves
    what was there. A frame of bars has the columns `open high low close volume` (float64) and a tz-aware UTC index
    of open times, ascending, named `timestamp`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def write(self, exchange: str, symbol: str, timeframe: str, frame: pd.DataFrame, *, source: str = "") -> str:
        """Store `frame` in place of what was there; the new data version. Raises DataError for bars that are broken."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        require_sound(frame, timeframe, f"{symbol} {timeframe}")
        version = content_version(exchange, symbol, timeframe, frame)
        table = pa.table(
            {"timestamp": pa.array(to_times(frame.index), pa.timestamp("ms", tz="UTC"))}
            | {name: pa.array(frame[name].to_numpy(dtype=np.float64)) for name in FIELDS}
        )
        about = {"exchange": exchange, "symbol": symbol, "timeframe": timeframe, "version": version, "source": source}
        table = table.replace_schema_metadata({f"cashup.{name}": value for name, value in about.items()})
        with _replacing(self._file(exchange, symbol, timeframe)) as temporary:
            pq.write_table(
                table, temporary, compression="zstd", use_dictionary=False, column_encoding=_ENCODING, version="2.6"
            )
        return version

    def read(
        self,
        exchange: str,
        symbol: str,
        timeframe: str,
        start: Millis | None = None,
        end: Millis | None = None,
    ) -> pd.DataFrame:
        """The bars that open in [start, end); raises DataError when the lake has no such file or cannot read it."""
        import pyarrow.parquet as pq

        table = _parquet(lambda file: pq.ParquetFile(file).read(), self._existing(exchange, symbol, timeframe))
        times = table.column("timestamp").cast("int64").to_numpy()
        first = 0 if start is None else int(np.searchsorted(times, start))
        last = len(times) if end is None else int(np.searchsorted(times, end))
        data = {name: table.column(name).to_numpy()[first:last] for name in FIELDS}
        return pd.DataFrame(data, index=to_index(times[first:last]))

    def bars(
        self,
        exchange: str,
        symbols: Sequence[str],
        timeframe: str,
        start: Millis | None = None,
        end: Millis | None = None,
        warmup: int = 0,
    ) -> Bars:
        """Bars of several symbols, inner-joined: `warmup` bars before `start` and all that open in [start, end).

        Without `start` the first `warmup` bars of the lake are the warm-up. Raises DataError when the lake lacks a
        symbol, has too few bars before `start`, or none in the range.
        """
        frames = {symbol: self.read(exchange, symbol, timeframe, end=end) for symbol in symbols}
        joined = Bars.join(frames, timeframe)
        first = warmup if start is None else joined.position(start)
        what = f"{', '.join(symbols)} {timeframe} on {exchange}"
        if first >= len(joined):
            raise DataError(f"the lake has no bars of {what} {_range(start, end)}; it has {_span(joined)}")
        if first < warmup:
            raise DataError(
                f"the strategy needs {warmup} bars of {what} before {isoformat(int(joined.times[first]))}, "
                f"and the lake has {first}; start later, ask for a shorter warm-up, or import earlier bars"
            )
        return joined.rows(first - warmup, len(joined))

    def version(self, exchange: str, symbol: str, timeframe: str) -> str:
        """The data version: a hash of what is stored, another one as soon as one bar differs."""
        return self.describe(exchange, symbol, timeframe).version

    def describe(self, exchange: str, symbol: str, timeframe: str) -> Series:
        """What the file's own description says; raises DataError when there is no such file."""
        return _describe(self._existing(exchange, symbol, timeframe))

    def list(self) -> list[Series]:
        """Everything in the lake, ordered by exchange, symbol and timeframe."""
        found = [_describe(path) for path in self.path.glob(f"*/*/*{SUFFIX}")]
        return sorted(found, key=lambda s: (s.exchange, s.symbol, timeframe_millis(s.timeframe)))

    def has(self, exchange: str, symbol: str, timeframe: str) -> bool:
        """True when there is a file for it."""
        return self._file(exchange, symbol, timeframe).is_file()

    def _file(self, exchange: str, symbol: str, timeframe: str) -> Path:
        folder = check_symbol(symbol).replace("/", "_").replace(":", "-")
        if not exchange.replace("_", "").replace("-", "").isalnum():
            raise DataError(f"{exchange!r} is not the name of an exchange; use ccxt's, such as gate")
        timeframe_millis(timeframe)
        return self.path / exchange / folder / f"{timeframe}{SUFFIX}"

    def _existing(self, exchange: str, symbol: str, timeframe: str) -> Path:
        path = self._file(exchange, symbol, timeframe)
        if path.is_file():
            return path
        there = [f"{s.symbol} {s.timeframe}" for s in self.list() if s.exchange == exchange]
        raise DataError(
            f"the lake has no {timeframe} bars of {symbol} on {exchange} (it has {', '.join(there) or 'none at all'}); "
            f"bring them in with `cashup data import FILE --exchange {exchange} --symbol {symbol} --timeframe "
            f"{timeframe}`, or make some up with `cashup data generate --exchange {exchange} --symbol {symbol} "
            f"--timeframe {timeframe}`",
            code="no_bars",
        )


def content_version(exchange: str, symbol: str, timeframe: str, frame: pd.DataFrame) -> str:
    """A hash of where bars belong and of every number in them."""
    digest = sha256(f"{exchange}|".encode())
    digest.update(Bars.join({symbol: frame}, timeframe).version.encode())
    return digest.hexdigest()


def _describe(path: Path) -> Series:
    import pyarrow.parquet as pq

    def look(opened: BinaryIO) -> Series:
        file = pq.ParquetFile(opened)
        about = {key.decode(): value.decode() for key, value in (file.metadata.metadata or {}).items()}
        groups = [file.metadata.row_group(number).column(0).statistics for number in range(file.num_row_groups)]
        return Series(
            exchange=about["cashup.exchange"],
            symbol=about["cashup.symbol"],
            timeframe=about["cashup.timeframe"],
            bars=file.metadata.num_rows,
            first=to_millis(groups[0].min),
            last=to_millis(groups[-1].max),
            version=about["cashup.version"],
            source=about["cashup.source"],
            path=path,
        )

    found: Series = _parquet(look, path)
    return found


def _parquet(read: Callable[[BinaryIO], Any], path: Path) -> Any:
    """What `read` makes of the file, opened once: a file that is replaced meanwhile is read to its end."""
    import pyarrow as pa

    try:
        with path.open("rb") as file:
            return read(file)
    except (pa.ArrowException, KeyError, IndexError, OSError) as error:
        raise DataError(f"{path} is not a file of the lake any more ({error}); import its bars again") from error


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place, durably, when the block did not raise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _range(start: Millis | None, end: Millis | None) -> str:
    words = [f"from {isoformat(start)}" if start is not None else "", f"before {isoformat(end)}" if end else ""]
    return " ".join(word for word in words if word) or "after the warm-up"


def _span(bars: Bars) -> str:
    if not len(bars):
        return "none at which every symbol has a bar"
    return f"{len(bars)} bars from {isoformat(int(bars.times[0]))} to {isoformat(int(bars.times[-1]))}"
