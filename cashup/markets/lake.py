"""The lake: bars and what lies beside them, as Parquet with versions, in a folder or an object store."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cashup.clock import Clock, WallClock, isoformat, timeframe_millis
from cashup.errors import DataError
from cashup.markets.appending import append_candles
from cashup.markets.dataset import Dataset, Ranges, Rows
from cashup.markets.health import require_sound
from cashup.markets.kinds import BESIDE, Kind, Use, beside, exchange_name, kind_of
from cashup.markets.manifest import MANIFEST, Version
from cashup.markets.panel import Panel, Part, Source, count_filled, joint_version
from cashup.markets.segments import Times, Values, digests, version_of
from cashup.markets.snapshots import Snapshot, find, forget, recall, remember, snapshots
from cashup.markets.store import open_store
from cashup.strategies.bars import FIELDS, Bars, to_index, to_times
from cashup.strategies.symbols import check_symbol
from cashup.types import Millis


@dataclass(frozen=True, slots=True)
class Series:
    """What the lake says about one series. `timeframe` is the kind for what lies beside bars (`funding`, ...).

    `bars` is the number of rows, `first` and `last` are times in ms, `source` is their origin, `filled` counts the bars
    that were made up to close gaps, `path` is where its files lie.
    """

    exchange: str
    symbol: str
    timeframe: str
    bars: int
    first: Millis
    last: Millis
    version: str
    source: str
    filled: int
    path: str


class Lake:
    """The series under one location, each in a folder `<exchange>/<BTC_USDT>/<1h | funding | ...>`.

    `location` is a path, or an address that fsspec knows (`s3://bucket/lake`). A series is replaced as a whole: readers
    see the old rows or the new ones, never a part, and a failed write leaves what was there. What a write replaced
    stays readable as an older version until it is pruned; adding rows at the end makes no older version, because a
    version's name covers its own rows only. A frame of bars has the columns `open high low close volume` (float64) and
    a tz-aware UTC index of open times, ascending, named `timestamp`.
    """

    def __init__(self, location: str | Path, clock: Clock | None = None) -> None:
        self.location = str(location)
        self._store = open_store(location)
        self._clock = clock or WallClock()

    # -- bars ---------------------------------------------------------------------------------------------------

    def write(
        self,
        exchange: str,
        symbol: str,
        timeframe: str,
        frame: pd.DataFrame,
        *,
        source: str = "",
        filled: Ranges = (),
    ) -> str:
        """Store `frame` in place of what was there; the new data version. Raises DataError for bars that are broken.

        `filled` are the ranges [first, last] of open times whose bars were made up.
        """
        dataset = self._dataset(exchange, symbol, _bars_of(timeframe))
        require_sound(frame, timeframe, f"{symbol} {timeframe}")
        return dataset.write(to_times(frame.index), _values(frame, FIELDS), source, filled)

    def append(self, exchange: str, timeframe: str, candles: Mapping[str, Sequence[Sequence[float]]]) -> None:
        """Add closed bars at the end of many series: `[open time (ms), open, high, low, close, volume]` per symbol.

        Raises DataError, before anything is stored, when a bar is broken; and for one that is not after the last one.
        """
        kind = _bars_of(timeframe)
        append_candles({symbol: self._dataset(exchange, symbol, kind) for symbol in candles}, candles, timeframe)

    def read(
        self,
        exchange: str,
        symbol: str,
        timeframe: str,
        start: Millis | None = None,
        end: Millis | None = None,
        *,
        version: str | None = None,
    ) -> pd.DataFrame:
        """The bars that open in [start, end), of the newest state or of a `version` of the series or of a run.

        Raises DataError when the lake has no such series or version, or cannot read it.
        """
        return _frame(self._source(exchange, symbol, _bars_of(timeframe), version)(start, end))

    def bars(
        self,
        exchange: str,
        symbols: Sequence[str],
        timeframe: str,
        start: Millis | None = None,
        end: Millis | None = None,
        warmup: int = 0,
        *,
        version: str | None = None,
        outer: bool = False,
        uses: Sequence[Use] = (),
    ) -> Bars:
        """Bars of several symbols: `warmup` bars before `start` and all that open in [start, end).

        A time at which a symbol has no bar is left out; with `outer` it stays, and the symbol has NaN there. Without
        `start` the first `warmup` bars of the lake are the warm-up. `version` is what an earlier run's bars had as
        theirs: exactly those rows again, whatever came into the lake since. What is used beside the bars belongs to
        their version too. Raises DataError when the lake lacks a symbol, has too few bars before `start`, or none in
        the range.
        """
        kind = _bars_of(timeframe)
        sources = {symbol: self._source(exchange, symbol, kind, version) for symbol in symbols}
        step = timeframe_millis(timeframe)
        # Enough for a warm-up with a few gaps; when it is not, everything is looked at.
        lower = None if start is None else start - step * (warmup + warmup // 8 + 64 * (warmup > 0))
        panel = Panel.open(sources, timeframe, lower, end, outer=outer)
        if lower is not None and start is not None and not warmup <= panel.position(start) < len(panel.times):
            panel = Panel.open(sources, timeframe, None, end, outer=outer)
        first = warmup if start is None else panel.position(start)
        _require_range(panel, first, warmup, start, end, f"{', '.join(symbols)} {timeframe} on {exchange}")
        bars, parts = panel.bars(first - warmup)
        used = [part for use in uses if (part := self._part_beside(exchange, use, bars, version)) is not None]
        if used:
            bars = bars.named(joint_version([bars.version, *(part.version for part in used)]))
            parts = (*parts, *used)
        remember(self._store, Snapshot(bars.version, exchange, timeframe, parts))
        return bars

    # -- beside bars --------------------------------------------------------------------------------------------

    def write_series(self, kind: str, exchange: str, symbol: str, frame: pd.DataFrame, *, source: str = "") -> str:
        """Store `funding` (column `rate`), `open_interest` or `trades` (`price amount side`) in place of the old rows.

        The index is tz-aware and ascending; only trades may share a time. Raises DataError for anything else.
        """
        chosen = beside(kind)
        times, values = _beside_rows(chosen, symbol, frame)
        return self._dataset(exchange, symbol, chosen).write(times, values, source)

    def append_series(self, kind: str, exchange: str, symbol: str, frame: pd.DataFrame) -> None:
        """Add rows behind the last one of `funding`, `open_interest` or `trades`. Raises DataError for earlier ones."""
        chosen = beside(kind)
        times, values = _beside_rows(chosen, symbol, frame)
        self._dataset(exchange, symbol, chosen).append(times, values)

    def read_series(
        self,
        kind: str,
        exchange: str,
        symbol: str,
        start: Millis | None = None,
        end: Millis | None = None,
        *,
        version: str | None = None,
    ) -> pd.DataFrame:
        """The rows of [start, end) with the columns of the kind, by time; raises DataError when the lake has none.

        `version` is that of a run: the rows it had. One that covers nothing of the kind, because its run used bars
        alone, leaves the newest.
        """
        return _frame(self._beside(exchange, symbol, beside(kind), version)(start, end))

    def funding(
        self,
        exchange: str,
        symbol: str,
        start: Millis | None = None,
        end: Millis | None = None,
        *,
        version: str | None = None,
    ) -> pd.Series[float]:
        """Funding rates (a ratio; longs pay when it is above 0) by funding time in [start, end), UTC."""
        return self.read_series("funding", exchange, symbol, start, end, version=version)["rate"]

    def open_interest(
        self, exchange: str, symbol: str, start: Millis | None = None, end: Millis | None = None
    ) -> pd.Series[float]:
        """Open interest in base currency by the time at which it was known, in [start, end), UTC."""
        return self.read_series("open_interest", exchange, symbol, start, end)["open_interest"]

    # -- what there is ------------------------------------------------------------------------------------------

    def version(self, exchange: str, symbol: str, timeframe: str) -> str:
        """The data version: a hash of what is stored, another one as soon as one bar differs."""
        return self.describe(exchange, symbol, timeframe).version

    def versions(self, exchange: str, symbol: str, timeframe: str) -> Sequence[Version]:
        """The states of the series that can still be read, the newest last."""
        return self._existing(exchange, symbol, kind_of(timeframe)).manifest().versions

    def describe(self, exchange: str, symbol: str, timeframe: str) -> Series:
        """What is known about a series (of bars, or of a kind beside them); raises DataError when there is none."""
        return self._describe(self._existing(exchange, symbol, kind_of(timeframe)))

    def list(self, *, kinds: bool = False) -> builtins.list[Series]:
        """All series of bars, or with `kinds` what lies beside them, ordered by exchange, symbol and timeframe."""
        found = [self._describe(dataset) for dataset in self._datasets() if (dataset.kind.name in BESIDE) == kinds]
        return sorted(found, key=lambda s: (s.exchange, s.symbol, kind_of(s.timeframe).step, s.timeframe))

    def has(self, exchange: str, symbol: str, timeframe: str) -> bool:
        """True when the lake has such a series."""
        return self._dataset(exchange, symbol, kind_of(timeframe)).exists()

    def filled(self, exchange: str, symbol: str, timeframe: str) -> Ranges:
        """The ranges [first, last] of open times whose bars were made up."""
        return self._existing(exchange, symbol, kind_of(timeframe)).manifest().newest.filled

    def sql(self, query: str) -> pd.DataFrame:
        """What DuckDB answers to `query` over the tables `bars`, `funding`, `open_interest` and `trades`."""
        from cashup.markets.sql import answer

        return answer(self._store, self._datasets(), query)

    def prune(self, *, forget_runs: bool = False) -> tuple[int, int]:
        """Drop versions that were replaced and that no remembered run had; how many versions and files went.

        With `forget_runs` those of runs go too: such a run can then no longer be repeated on its own data.
        """
        noted = snapshots(self._store)
        needed: dict[str, set[str]] = {}
        for snapshot in noted if not forget_runs else ():
            for part in snapshot.parts:
                dataset = self._dataset(snapshot.exchange, part.symbol, kind_of(part.kind or snapshot.timeframe))
                found = _state(dataset, part) if dataset.exists() else None
                if found is not None:
                    needed.setdefault(dataset.name, set()).add(found.version)
        gone = [dataset.prune(needed.get(dataset.name, set())) for dataset in self._datasets()]
        for snapshot in noted if forget_runs else ():
            forget(self._store, snapshot)
        return sum(versions for versions, _ in gone), sum(files for _, files in gone)

    # -- inside -------------------------------------------------------------------------------------------------

    def _dataset(self, exchange: str, symbol: str, kind: Kind) -> Dataset:
        return Dataset(self._store, exchange_name(exchange), check_symbol(symbol), kind, self._clock)

    def _datasets(self) -> builtins.list[Dataset]:
        """Everything stored; a folder's own name for a symbol has lost its spelling, the manifest has it."""
        found = [self._named(name.removesuffix(f"/{MANIFEST}")) for name in self._store.names(f"*/*/*/{MANIFEST}")]
        known = {dataset.folder for dataset in found}
        legacy = [name.removesuffix(".parquet") for name in self._store.names("*/*/*.parquet")]
        return found + [self._named(folder) for folder in legacy if folder not in known]

    def _named(self, folder: str) -> Dataset:
        exchange, symbol, kind = folder.split("/")
        return self._dataset(exchange, symbol.replace("_", "/").replace("-", ":", 1), kind_of(kind))

    def _existing(self, exchange: str, symbol: str, kind: Kind) -> Dataset:
        dataset = self._dataset(exchange, symbol, kind)
        if dataset.exists():
            return dataset
        there = [f"{d.symbol} {d.kind.name}" for d in self._datasets() if d.exchange == exchange]
        has = f"(it has {', '.join(there) or 'none at all'})"
        options = f"--exchange {exchange} --symbol {symbol}"
        if kind.name in BESIDE:
            raise DataError(
                f"the lake has no {kind.name} of {symbol} on {exchange} {has}; bring them in with "
                f"`cashup data import FILE {options} --kind {kind.name}`",
                code="no_bars",
            )
        raise DataError(
            f"the lake has no {kind.name} bars of {symbol} on {exchange} {has}; bring them in with `cashup data import "
            f"FILE {options} --timeframe {kind.name}` or `cashup data download {options} --timeframe {kind.name}`, or "
            f"make some up with `cashup data generate {options} --timeframe {kind.name}`",
            code="no_bars",
        )

    def _source(self, exchange: str, symbol: str, kind: Kind, version: str | None) -> Source:
        """Where the rows of a symbol come from: the newest state, or the one that `version` names."""
        dataset = self._existing(exchange, symbol, kind)
        if version is None:
            return dataset.rows
        own = [state for state in dataset.manifest().versions if state.version == version]
        if own:
            return lambda start, end: dataset.rows(start, end, own[0])
        part = recall(self._store, version).part(exchange, symbol, kind.name)
        state = _state(dataset, part)
        if state is None and not _holds(dataset, part, None):
            raise DataError(
                f"the bars of {symbol} {kind.name} that data version {version[:12]} stands for were pruned from the "
                "lake; run on the newest bars instead"
            )
        return lambda start, end: dataset.rows(
            part.first if start is None else max(start, part.first),
            part.last + 1 if end is None else min(end, part.last + 1),
            state,
        )

    def _beside(self, exchange: str, symbol: str, kind: Kind, version: str | None) -> Source:
        """Where the rows beside bars come from; a run that used the kind, but had none of this symbol, has none."""
        newest = self._existing(exchange, symbol, kind).rows
        if version is None:
            return newest
        noted = find(self._store, version)
        if noted is None or not noted.covers(kind.name):
            return newest
        if any((part.kind, part.symbol) == (kind.name, symbol) for part in noted.parts):
            return self._source(exchange, symbol, kind, version)
        return lambda start, end: newest(0, 0)

    def _part_beside(self, exchange: str, use: Use, bars: Bars, version: str | None) -> Part | None:
        """What a run on `bars` takes of a series beside them; None when there is nothing that it could take."""
        kind = beside(use.kind)
        if not self.has(exchange, use.symbol, use.kind):
            return None
        source = self._beside(exchange, use.symbol, kind, version)
        first, last = int(bars.times[0]), int(bars.closes[-1]) - 1
        if use.seen:
            before = source(None, first + 1).times
            first, last = (int(before[-1]) if len(before) else first), last + 1
        rows = source(first, last + 1)
        if not len(rows.times) and not use.seen:
            return None
        return Part(use.symbol, rows.version(rows.values()), first, last, use.kind)

    def _describe(self, dataset: Dataset) -> Series:
        bars, first, last = dataset.span()
        newest = dataset.manifest().newest
        filled = count_filled(newest.filled, dataset.kind.name, first, last) if newest.filled else 0
        return Series(
            exchange=dataset.exchange,
            symbol=dataset.symbol,
            timeframe=dataset.kind.name,
            bars=bars,
            first=first,
            last=last,
            version=dataset.version(),
            source=newest.source,
            filled=filled,
            path=self._store.address(dataset.folder),
        )


def content_version(exchange: str, symbol: str, timeframe: str, frame: pd.DataFrame) -> str:
    """The version that the lake gives to these bars: a hash of where they belong and of every number in them."""
    kind = kind_of(timeframe)
    blocks = digests(kind, to_times(frame.index), _values(frame, kind.columns))
    return version_of(f"{exchange}|{symbol}|{timeframe}", blocks)


def _state(dataset: Dataset, part: Part) -> Version | None:
    """The stored version whose rows in the part's range are the part's; None when only the newest with its tail is."""
    if _holds(dataset, part, None):
        return None
    return next((state for state in reversed(dataset.manifest().versions) if _holds(dataset, part, state)), None)


def _holds(dataset: Dataset, part: Part, state: Version | None) -> bool:
    rows: Rows = dataset.rows(part.first, part.last + 1, state)
    return rows.version(rows.values()) == part.version


def _bars_of(timeframe: str) -> Kind:
    timeframe_millis(timeframe)
    return kind_of(timeframe)


def _beside_rows(kind: Kind, symbol: str, frame: pd.DataFrame) -> tuple[Times, Values]:
    """The rows of a series beside bars; raises DataError when they are incomplete or out of order."""
    missing = [name for name in kind.columns if name not in frame.columns]
    if missing or frame.empty:
        raise DataError(f"{kind.name} of {symbol} need rows with {', '.join(kind.columns)}")
    times, values = to_times(frame.index), _values(frame, kind.columns)
    if bool((np.diff(times) < (1 if kind.unique else 0)).any()) or not bool(np.isfinite(values).all()):
        raise DataError(f"{kind.name} of {symbol} must ascend in time and hold numbers; sort them, drop what repeats")
    return times, values


def _values(frame: pd.DataFrame, columns: Sequence[str]) -> Values:
    return np.stack([frame[name].to_numpy(dtype=np.float64) for name in columns])


def _frame(rows: Rows) -> pd.DataFrame:
    data: dict[str, Any] = dict(zip(rows.kind.columns, rows.values(), strict=True))
    return pd.DataFrame(data, index=to_index(rows.times))


def _require_range(panel: Panel, first: int, warmup: int, start: Millis | None, end: Millis | None, what: str) -> None:
    times = panel.times
    if first >= len(times):
        raise DataError(f"the lake has no bars of {what} {_range(start, end)}; it has {_span(times)}")
    if first < warmup:
        raise DataError(
            f"the strategy needs {warmup} bars of {what} before {isoformat(int(times[first]))}, "
            f"and the lake has {first}; start later, ask for a shorter warm-up, or import earlier bars"
        )


def _range(start: Millis | None, end: Millis | None) -> str:
    words = [f"from {isoformat(start)}" if start is not None else "", f"before {isoformat(end)}" if end else ""]
    return " ".join(word for word in words if word) or "after the warm-up"


def _span(times: Times) -> str:
    if not len(times):
        return "none at which every symbol has a bar"
    return f"{len(times)} bars from {isoformat(int(times[0]))} to {isoformat(int(times[-1]))}"
