"""What a run leaves on disk beside its executed notebook, and the run again from it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from cashup.errors import NotFound
from cashup.markets.lake import Lake
from cashup.research.history import priced
from cashup.research.recording.record import spec_of
from cashup.research.result import Result
from cashup.strategies.registry import Run

EQUITY, ORDERS, FUNDING, RESULT = "equity.parquet", "orders.parquet", "funding.parquet", "result.json"


def store(folder: Path, result: Result) -> None:
    """Write the result's equity, orders and funding payments into `folder`."""
    # LZ4: an equity curve hardly compresses, and people wait for this file.
    result.equity.to_frame().to_parquet(folder / EQUITY, compression="lz4")
    result.orders.to_parquet(folder / ORDERS, compression="lz4")
    if len(result.funding):
        result.funding.to_parquet(folder / FUNDING, compression="lz4")


def read_equity(run: Run) -> pd.Series[float]:
    """The equity of a run at each close, quote currency, tz-aware UTC index; NotFound when it stored none."""
    series: pd.Series[float] = _read(run, EQUITY)["equity"]
    return series


def read_result(run: Run, lake: Lake) -> Result:
    """The run as it was, with the bars from the lake at the run's data version, as its engine had them.

    Raises NotFound when the run stored no equity, DataError when the lake lacks its bars.
    """
    about = spec_of(run)
    equity, orders = read_equity(run), _read(run, ORDERS)
    told = json.loads((folder_of(run) / RESULT).read_text())
    symbols, timeframe = told["symbols"], told["timeframe"]
    first, after = int(equity.index[0].timestamp() * 1000), int(equity.index[-1].timestamp() * 1000) + 1
    joined = lake.bars(
        about.exchange,
        [*symbols, *told.get("watch", ())],
        timeframe,
        first,
        after,
        version=run.data_version,
        outer=told.get("universe", False),
    )
    bars = priced(joined.split(symbols))
    funding = folder_of(run) / FUNDING
    return Result(
        equity=equity,
        orders=orders,
        close=bars.close,
        timeframe=timeframe,
        capital=about.capital,
        funding=pd.read_parquet(funding) if funding.is_file() else None,
        bars=bars,
    )


def folder_of(run: Run) -> Path:
    """The folder with everything that the run left."""
    return Path(run.output).parent


def _read(run: Run, name: str) -> pd.DataFrame:
    path = folder_of(run) / name
    if not path.is_file():
        raise NotFound(f"run {run.id} ({run.kind}) has stored no {name}; `cashup runs rerun {run.id}` makes it")
    return pd.read_parquet(path)
