"""The strategy as freqtrade takes it; it prints when it has decided a candle: `decided OPEN_TIME_MS MONOTONIC_NS`."""

from __future__ import annotations

import time
from typing import ClassVar

from freqtrade.strategy import IStrategy
from pandas import DataFrame

FAST, SLOW = 100, 900


class Cross(IStrategy):
    """Long while the fast average is above the slow one; Gate serves 999 candles at once, so slow is 900."""

    INTERFACE_VERSION = 3
    timeframe = "1m"
    minimal_roi: ClassVar[dict[str, float]] = {}
    stoploss = -0.99
    startup_candle_count = SLOW
    process_only_new_candles = True

    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        """Both averages."""
        dataframe["fast"] = dataframe["close"].rolling(FAST).mean()
        dataframe["slow"] = dataframe["close"].rolling(SLOW).mean()
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        """In."""
        dataframe.loc[dataframe["fast"] > dataframe["slow"], "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        """Out; after this the decision stands."""
        dataframe.loc[dataframe["fast"] <= dataframe["slow"], "exit_long"] = 1
        newest = int(dataframe["date"].iloc[-1].timestamp() * 1000)
        print(f"decided {newest} {time.perf_counter_ns()}", flush=True)
        return dataframe
