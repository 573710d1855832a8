"""SQL over the lake: DuckDB reads the segments where they lie."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pandas as pd
import pyarrow as pa

from cashup.errors import DataError
from cashup.markets.dataset import Dataset, Rows
from cashup.markets.kinds import BESIDE, Kind, kind_of
from cashup.markets.store import Folder, Store

BARS = "bars"


def answer(store: Store, datasets: Sequence[Dataset], query: str) -> pd.DataFrame:
    """What DuckDB answers to `query`; times come back as UTC. Raises DataError with DuckDB's own sentence.

    `bars` has the columns exchange, symbol, timeframe, timestamp, open, high, low, close and volume; `funding`,
    `open_interest` and `trades` have exchange, symbol, timestamp and their own. Nothing can be written.
    """
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        # A lake's tables are views over its files: only their folder may be read, and a query cannot open that again.
        for table in (BARS, *BESIDE):
            chosen = [d for d in datasets if d.kind.name == table or (table == BARS and d.kind.name not in BESIDE)]
            _create(connection, store, table, chosen)
        connection.execute(f"set allowed_directories = [{_quoted(store.location)}]")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        try:
            found = connection.execute(query).df()
        except duckdb.Error as error:
            raise DataError(f"the query failed: {error}; the tables are {', '.join((BARS, *BESIDE))}") from error
    times = found.select_dtypes("datetimetz").columns
    return found.assign(**{name: found[name].dt.tz_convert("UTC").dt.as_unit("ms") for name in times})


def _create(connection: duckdb.DuckDBPyConnection, store: Store, table: str, datasets: Sequence[Dataset]) -> None:
    kind = kind_of("1h") if table == BARS else BESIDE[table]
    parts = [_empty(kind, timeframe=table == BARS)]
    for number, dataset in enumerate(datasets):
        name = f"{table}_{number}"
        where = [_quoted(dataset.exchange), _quoted(dataset.symbol)] + [_quoted(dataset.kind.name)] * (table == BARS)
        files, rest = dataset.files()
        columns = ", ".join([*where, "timestamp", *kind.columns])
        if files and isinstance(store, Folder):
            paths = ", ".join(_quoted(file) for file in files)
            parts.append(f"select {columns} from read_parquet([{paths}])")  # noqa: S608 - our own names, quoted
        elif files:
            rest = dataset.rows()
        if len(rest.times):
            connection.register(name, _table(rest))
            parts.append(f"select {columns} from {name}")  # noqa: S608
    connection.execute(f"create view {table} as {' union all '.join(parts)}")


def _empty(kind: Kind, *, timeframe: bool) -> str:
    """Names and types of the columns, so that a table without rows has them too."""
    texts = ["exchange", "symbol"] + ["timeframe"] * timeframe
    columns = [f"'' as {name}" for name in texts] + ["timestamptz '1970-01-01' as timestamp"]
    return f"select {', '.join(columns + [f'0.0::double as {name}' for name in kind.columns])} where false"


def _table(rows: Rows) -> pa.Table:
    columns = dict(zip(rows.kind.columns, rows.values(), strict=True))
    stamps = pa.array(rows.times, pa.int64()).cast(pa.timestamp("ms", tz="UTC"))
    return pa.table({"timestamp": stamps} | {name: pa.array(column) for name, column in columns.items()})


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
