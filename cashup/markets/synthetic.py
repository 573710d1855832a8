"""Bars that CashUp makes up: a random walk with moods, the same for the same seed."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cashup.clock import timeframe_millis
from cashup.errors import Conflict, DataError, UsageError
from cashup.markets.kinds import BESIDE
from cashup.markets.lake import Lake, Series
from cashup.strategies.bars import to_index
from cashup.strategies.symbols import is_contract
from cashup.types import Millis

FIRST_PRICES = {"BTC/USDT": (60_000.0, 1), "ETH/USDT": (3_000.0, 2), "XRP/USDT": (0.6, 4)}
"""The first price and the decimals of the symbols everybody knows; any other one starts at 100 with 2 decimals."""

GENERATED = "generated"
"""The source of bars that CashUp made up."""

HOUR = 3_600_000
FUNDING_EVERY = 8 * HOUR
YEAR = 365 * 86_400_000
VOLATILITY = 0.55
STEPS = 12
MOOD_BARS = 120


def generate(symbol: str, timeframe: str, start: Millis, bars: int, seed: int) -> pd.DataFrame:
    """`bars` bars of `symbol` from `start` on, in the lake's layout.

    Geometric Brownian motion with 55 % volatility a year, whose drift keeps one direction for about 120 bars and
    whose volatility clusters. Every bar is walked in 12 steps; prices stand on the symbol's tick. A perpetual follows
    the spot symbol of the same seed within about 0.1 %.
    """
    spot, _, settled = symbol.partition(":")
    if settled:
        return _perpetual(generate(spot, timeframe, start, bars, seed), symbol, seed)
    step = timeframe_millis(timeframe)
    random = _random(f"{symbol}|{timeframe}|{seed}")
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


def generate_funding(symbol: str, start: Millis, end: Millis, seed: int) -> pd.DataFrame:
    """Funding rates (column `rate`) every 8 hours in [start, end): 0.01 % on average, moods of days, both signs."""
    times = np.arange(-(-start // FUNDING_EVERY) * FUNDING_EVERY, end, FUNDING_EVERY, dtype=np.int64)
    random = _random(f"{symbol}|funding|{seed}")
    rates = 0.0001 + _wander(random, len(times), keep=0.95, noise=0.00006)
    return pd.DataFrame({"rate": np.round(np.clip(rates, -0.0075, 0.0075), 6)}, index=to_index(times))


def generate_open_interest(symbol: str, start: Millis, end: Millis, seed: int) -> pd.DataFrame:
    """Open interest in base currency (column `open_interest`) every hour in [start, end)."""
    times = np.arange(-(-start // HOUR) * HOUR, end, HOUR, dtype=np.int64)
    random = _random(f"{symbol}|open_interest|{seed}")
    contracts = np.round(50_000 * np.exp(_wander(random, len(times), keep=0.999, noise=0.01)), 2)
    return pd.DataFrame({"open_interest": contracts}, index=to_index(times))


def store_funding(lake: Lake, exchange: str, symbol: str, start: Millis, end: Millis, seed: int) -> tuple[Series, ...]:
    """Make up funding rates and open interest of a perpetual and store them; never over imported ones.

    Raises UsageError for a spot symbol, Conflict when the lake has imported ones.
    """
    if not is_contract(symbol):
        raise UsageError(f"funding is paid on perpetuals, and {symbol} is spot; write {symbol}:{symbol.split('/')[1]}")
    made = {
        "funding": generate_funding(symbol, start, end, seed),
        "open_interest": generate_open_interest(symbol, start, end, seed),
    }
    for kind in made:
        _require_generated(lake, exchange, symbol, kind)
    for kind, frame in made.items():
        lake.write_series(kind, exchange, symbol, frame, source=GENERATED)
    return tuple(lake.describe(exchange, symbol, kind) for kind in made)


def store_generated(
    lake: Lake, exchange: str, symbol: str, timeframe: str, start: Millis, bars: int, seed: int
) -> Series:
    """Make bars up and store them. Raises Conflict when the lake has imported bars there: those are never replaced."""
    if start % timeframe_millis(timeframe):
        raise DataError(f"no {timeframe} bar opens at this start; begin on the hour, the day or the like")
    _require_generated(lake, exchange, symbol, timeframe)
    lake.write(exchange, symbol, timeframe, generate(symbol, timeframe, start, bars, seed), source=GENERATED)
    return lake.describe(exchange, symbol, timeframe)


def _require_generated(lake: Lake, exchange: str, symbol: str, timeframe: str) -> None:
    if lake.has(exchange, symbol, timeframe):
        source = lake.describe(exchange, symbol, timeframe).source
        if source != GENERATED:
            what = timeframe if timeframe in BESIDE else f"{timeframe} bars"
            raise Conflict(
                f"the lake has {symbol} {what} on {exchange} from {source}, "
                "and made-up bars never replace those; choose another --exchange or symbol"
            )


def _random(words: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(int.from_bytes(sha256(words.encode()).digest()[:8], "big")))


def _perpetual(spot: pd.DataFrame, symbol: str, seed: int) -> pd.DataFrame:
    """Spot bars moved by a basis that wanders around zero."""
    _, decimals = FIRST_PRICES.get(symbol.partition(":")[0], (100.0, 2))
    random = _random(f"{symbol}|basis|{seed}")
    moved = spot[["open", "high", "low", "close"]].mul(1 + _wander(random, len(spot), keep=0.98, noise=0.0001), axis=0)
    frame = moved.round(decimals).clip(lower=10.0**-decimals).assign(volume=spot["volume"] * 3)
    frame["open"] = frame["close"].shift(fill_value=frame["open"].iloc[0])
    frame["high"] = frame[["open", "high", "close"]].max(axis=1)
    frame["low"] = frame[["open", "low", "close"]].min(axis=1)
    return frame


def _wander(random: np.random.Generator, count: int, *, keep: float, noise: float) -> NDArray[np.float64]:
    """A first-order autoregression around zero."""
    shocks = random.standard_normal(count) * noise
    level = np.empty(count)
    value = 0.0
    for row, shock in enumerate(shocks):
        value = keep * value + shock
        level[row] = value
    return level


def _volatility(random: np.random.Generator, bars: int) -> NDArray[np.float64]:
    """A slow wave around 1: quiet and loud weeks."""
    return np.exp(_wander(random, bars, keep=0.99, noise=0.02) * 2)


def _moods(random: np.random.Generator, bars: int) -> NDArray[np.float64]:
    """The direction of the drift: -1, 0 or 1, each kept for a random number of bars."""
    lengths = random.geometric(1 / MOOD_BARS, size=bars)
    count = int(np.searchsorted(np.cumsum(lengths), bars)) + 1
    return np.repeat(random.choice([-1.0, 0.0, 1.0], size=count), lengths[:count])[:bars]
