"""The lake's speed beside a floor: what pyarrow, or the disk, takes for the same bytes without us, in the same run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import home, spread
from cashup.clock import parse_time
from cashup.markets.importer import import_file
from cashup.markets.lake import Lake
from cashup.markets.synthetic import generate

MINUTES = 525_600
HOURS = 53_308
SYMBOLS = [f"S{number}/USDT" for number in range(20)]
MANY = [f"M{number}/USDT" for number in range(500)]
START = "2025-01-01"
MINUTE = 60_000


def lake() -> dict[str, Any]:
    """Bars of a year and of a month, of one symbol and of twenty; an import; one bar more for 500 symbols."""
    with home() as folder:
        made = Lake(folder / "lake")
        first = parse_time(START)
        year = generate("BTC/USDT", "1m", first, MINUTES, 7)
        for symbol in SYMBOLS:
            made.write("gate", symbol, "1m", year)
        month = (parse_time("2025-06-01"), parse_time("2025-07-01"))
        return {
            "year": _pair(lambda: made.bars("gate", SYMBOLS[:1], "1m"), lambda: _bare(folder, SYMBOLS[:1])),
            "month": _pair(
                lambda: made.bars("gate", SYMBOLS[:1], "1m", *month),
                lambda: _bare(folder, SYMBOLS[:1], *map(pd.Timestamp, ("2025-06-01", "2025-07-01"))),
            ),
            "twenty_years": _pair(lambda: made.bars("gate", SYMBOLS, "1m"), lambda: _bare(folder, SYMBOLS), runs=5),
            "import_csv": _import(made, folder),
            "append_500": _append(made, folder),
            "mib_per_year": round(sum(file.stat().st_size for file in _files(folder, SYMBOLS[0])) / 1024**2, 1),
        }


def _files(folder: Path, symbol: str) -> list[Path]:
    return sorted((folder / "lake" / "gate" / symbol.replace("/", "_") / "1m").glob("*.parquet"))


def _bare(folder: Path, symbols: list[str], start: pd.Timestamp | None = None, end: pd.Timestamp | None = None) -> None:
    """The same files read by pyarrow alone, into Arrow tables that nobody uses; as many threads as cores."""
    filters = None
    if start is not None and end is not None:
        low, high = (pa.scalar(at.tz_localize("UTC"), pa.timestamp("ms", tz="UTC")) for at in (start, end))
        filters = [("timestamp", ">=", low), ("timestamp", "<", high)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(lambda s: [pq.read_table(file, filters=filters) for file in _files(folder, s)], symbols))


def _import(made: Lake, folder: Path) -> dict[str, Any]:
    frame = generate("ETH/USDT", "1h", parse_time("2020-03-01"), HOURS, 7)
    path = folder / "bars.csv"
    pd.DataFrame({"timestamp": frame.index.asi8, "datetime": frame.index.strftime("%Y-%m-%d %H:%M:%S")}).join(
        frame.reset_index(drop=True)
    ).to_csv(path, index=False)
    return _pair(
        lambda: import_file(made, path, "gate", "ETH/USDT", "1h", replace=True), lambda: pd.read_csv(path), runs=5
    )


def _append(made: Lake, folder: Path) -> dict[str, Any]:
    """The floor: 48 bytes at the end of 500 files, each synced, by as many threads."""
    first = parse_time(START)
    row = [100.0, 101.0, 99.0, 100.5, 1.0]
    bars = iter(range(100))

    def append() -> None:
        at = first + next(bars) * MINUTE
        made.append("gate", "1m", {symbol: [[at, *row]] for symbol in MANY})

    def bare(symbol: str) -> None:
        with (folder / symbol.replace("/", "_")).open("ab") as file:
            file.write(b"x" * 48)
            file.flush()
            os.fdatasync(file.fileno())

    def floor() -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(bare, MANY))

    append()
    floor()
    return _pair(append, floor)


def _pair(ours: Callable[[], object], bare: Callable[[], object], runs: int = 9) -> dict[str, Any]:
    """Milliseconds of both, in turn, so that both see the same machine."""
    ours(), bare()
    taken, floor = [], []
    for _ in range(runs):
        taken.append(_milliseconds(ours))
        floor.append(_milliseconds(bare))
    seen = {"ms": spread(taken, 1), "floor_ms": spread(floor, 1)}
    return seen | {"ratio": round(seen["ms"]["median"] / seen["floor_ms"]["median"], 2)}


def _milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000
