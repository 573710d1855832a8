"""The lake on which the notebooks are tested: generated, always the same."""

from __future__ import annotations

from pathlib import Path

from cashup.clock import parse_time
from cashup.markets.lake import Lake
from cashup.markets.synthetic import store_generated

SYMBOLS = ("BTC/USDT", "ETH/USDT", "XRP/USDT")


def fill_lake(path: Path) -> Lake:
    """Half a year of hours on `gate` for the notebooks, and on `golden` for the golden ones."""
    lake = Lake(path)
    for exchange in ("gate", "golden"):
        for symbol in SYMBOLS:
            store_generated(lake, exchange, symbol, "1h", parse_time("2024-01-01"), 4_368, seed=7)
    return lake
