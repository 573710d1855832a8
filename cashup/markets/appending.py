"""One more bar for many series at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from cashup.markets.dataset import Dataset
from cashup.markets.health import require_sound, sound_rows
from cashup.strategies.bars import FIELDS, to_index

_THREADS = 8
"""A sync to the disk is waited for, not worked at."""


def append_candles(
    datasets: Mapping[str, Dataset], candles: Mapping[str, Sequence[Sequence[float]]], timeframe: str
) -> None:
    """Check every row (`[time in ms, open, high, low, close, volume]`), then add them to their series.

    Raises DataError before the first is stored when a bar is broken, and for one that is not after the last stored.
    """
    rows = {symbol: np.array(given, dtype=np.float64).reshape(-1, 1 + len(FIELDS)) for symbol, given in candles.items()}
    rows = {symbol: given for symbol, given in rows.items() if len(given)}
    if not rows:
        return
    together = np.concatenate(list(rows.values()))
    follows = np.concatenate([np.arange(len(given)) > 0 for given in rows.values()])
    if not sound_rows(together, follows, timeframe):
        for symbol, given in rows.items():
            frame = pd.DataFrame(given[:, 1:], columns=list(FIELDS), index=to_index(given[:, 0].astype(np.int64)))
            require_sound(frame, timeframe, f"{symbol} {timeframe}")

    def store(symbol: str) -> None:
        given = rows[symbol]
        datasets[symbol].append(given[:, 0].astype(np.int64), given[:, 1:].T)

    if len(rows) == 1:
        store(next(iter(rows)))
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(store, rows))
