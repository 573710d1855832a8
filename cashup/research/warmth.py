"""What a warm process tries out before anybody asks: one small backtest, with its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def warm_up() -> None:
    """Import what a backtest needs, and run everything once that costs more the first time.

    No file is read, no setting is looked at, and nothing is computed in parallel: a thread pool would not live on in a
    forked process.
    """
    import pyarrow.parquet  # noqa: F401  (the lake reads with it)

    from cashup.markets import lake, panel  # noqa: F401
    from cashup.markets.synthetic import generate
    from cashup.research.backtest import backtest
    from cashup.research.spec import RunSpec
    from cashup.strategies.bars import Bars
    from cashup.strategies.strategy import Strategy

    def target(bars: Bars, length: int) -> pd.DataFrame:
        return (bars.close > bars.close.rolling(length).mean()).astype(float)

    bars = Bars.join({"BTC/USDT": generate("BTC/USDT", "1m", 0, 500, seed=1)}, "1m")
    strategy = Strategy(target, symbols=bars.symbols, timeframe="1m", warmup=5, params={"length": 5})
    made = backtest(strategy, bars, RunSpec(), funding={})
    made.metrics()
    made.plot().to_json()
    made.stats()
    made.trades.tail().to_html()
