"""The lake on which the notebooks are tested: generated, always the same."""

from __future__ import annotations

from pathlib import Path

from cashup.clock import parse_time
from cashup.markets.lake import Lake
from cashup.markets.synthetic import store_funding, store_generated

SYMBOLS = ("BTC/USDT", "ETH/USDT", "XRP/USDT")
PERPETUALS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
BARS = 4_368
HOUR = 3_600_000


def fill_lake(path: Path) -> Lake:
    """Half a year of hours on `gate` for the notebooks, and on `golden` for the golden ones; perpetuals pay funding."""
    lake, start = Lake(path), parse_time("2024-01-01")
    for exchange in ("gate", "golden"):
        for symbol in SYMBOLS + PERPETUALS:
            store_generated(lake, exchange, symbol, "1h", start, BARS, seed=7)
        for symbol in PERPETUALS:
            store_funding(lake, exchange, symbol, start, start + BARS * HOUR, seed=7)
    return lake
