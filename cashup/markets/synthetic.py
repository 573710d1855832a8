"""Bars that CashUp makes up: a random walk with moods, the same for the same seed."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.clock import timeframe_millis
from cashup.errors import Conflict, DataError
from cashup.markets.lake import Lake, Series
from cashup.strategies.bars import to_index
from cashup.types import Millis

FIRST_PRICES = {"BTC/USDT": (60_000.0, 1), "ETH/USDT": (3_000.0, 2), "XRP/USDT": (0.6, 4)}
"""The first price and the decimals of the symbols everybody knows; any other one starts at 100 with 2 decimals."""

GENERATED = "generated"
"""The source of bars that CashUp made up."""

YEAR = 365 * 86_400_000
VOLATILITY = 0.55
STEPS = 12
MOOD_BARS = 120


def generate(symbol: str, timeframe: str, start: Millis, bars: int, seed: int) -> pd.DataFrame:
    """`bars` bars of `symbol` from `start` on, in the lake's layout.

    Geometric Brownian motion with 55 % volatility a year, whose drift keeps one direction for about 120 bars and
    whose volatility clusters. Every bar is walked in 12 steps; prices stand on the symbol's tick.
    """
    step = timeframe_millis(timeframe)
    number = int.from_bytes(sha256(f"{symbol}|{timeframe}|{seed}".encode()).digest()[:8], "big")
    random = np.random.Generator(np.random.PCG64(number))
    first, decimals = FIRST_PRICES.get(symbol, (100.0, 2))

    sigma = VOLATILITY * np.sqrt(step / YEAR) * _volatility(random, bars)
    drift = _moods(random, bars) * 0.05 * sigma - sigma**2 / 2
    noise = random.standard_normal((bars, STEPS)) * (sigma / np.sqrt(STEPS))[:, None]
    path = np.exp(np.cumsum((noise + (drift / STEPS)[:, None]).ravel())).reshape(bars, STEPS)

    tick = 10.0**-decimals
    prices = np.maximum(np.round(first * path, decimals), tick)
    close = prices[:, -1]
    opened = np.concatenate([[first], close[:-1]])
    volume = np.round(random.lognormal(0.0, 0.5, bars) * 5e7 * (step / 3_600_000) / 24 / close, 4)
    data = {
        "open": opened,
        "high": np.maximum(opened, prices.max(axis=1)),
        "low": np.minimum(opened, prices.min(axis=1)),
        "close": close,
        "volume": volume,
    }
    return pd.DataFrame(data, index=to_index(np.arange(bars, dtype=np.int64) * step + start))


def store_generated(
    lake: Lake, exchange: str, symbol: str, timeframe: str, start: Millis, bars: int, seed: int
) -> Series:
    """Make bars up and store them. Raises Conflict when the lake has imported bars there: those are never replaced."""
    if start % timeframe_millis(timeframe):
        raise DataError(f"no {timeframe} bar opens at this start; begin on the hour, the day or the like")
    if lake.has(exchange, symbol, timeframe):
        source = lake.describe(exchange, symbol, timeframe).source
        if source != GENERATED:
            raise Conflict(
                f"the lake has {symbol} {timeframe} bars on {exchange} from {source}, "
                "and made-up bars never replace those; choose another --exchange or symbol"
            )
    lake.write(exchange, symbol, timeframe, generate(symbol, timeframe, start, bars, seed), source=GENERATED)
    return lake.describe(exchange, symbol, timeframe)


def _volatility(random: np.random.Generator, bars: int) -> NDArray[np.float64]:
    """A slow wave around 1: quiet and loud weeks."""
    shocks = random.standard_normal(bars) * 0.02
    level = np.empty(bars)
    value = 0.0
    for bar, shock in enumerate(shocks):
        value = 0.99 * value + shock
        level[bar] = value
    return np.exp(level * 2)


def _moods(random: np.random.Generator, bars: int) -> NDArray[np.float64]:
    """The direction of the drift: -1, 0 or 1, each kept for a random number of bars."""
    lengths = random.geometric(1 / MOOD_BARS, size=bars)
    count = int(np.searchsorted(np.cumsum(lengths), bars)) + 1
    return np.repeat(random.choice([-1.0, 0.0, 1.0], size=count), lengths[:count])[:bars]
