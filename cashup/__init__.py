"""CashUp: the notebook you backtest is the notebook that trades.

    import cashup as cu

    strategy = cu.Strategy(target, symbols=["BTC/USDT"], timeframe="1h", warmup=30)
    run = cu.run(strategy)

What stands in `__all__` is all that a notebook needs. It is imported when it is first used, because every process of
CashUp imports this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from cashup.research.backtest import Backtest
    from cashup.research.checks.run import check
    from cashup.research.promotion import gate
    from cashup.research.sweeping.sweep import sweep
    from cashup.research.validating.validation import validate
    from cashup.research.validating.walkforward import walkforward
    from cashup.strategies.bars import Bars
    from cashup.strategies.indicator import indicator
    from cashup.strategies.model import RollingModel
    from cashup.strategies.strategy import Strategy
    from cashup.strategies.universe import Universe
    from cashup.workers.live_run import LiveRun

__all__ = [
    "Backtest",
    "Bars",
    "LiveRun",
    "RollingModel",
    "Strategy",
    "Universe",
    "check",
    "gate",
    "indicator",
    "run",
    "sweep",
    "validate",
    "walkforward",
]

_HOMES = {
    "Backtest": "cashup.research.backtest",
    "Bars": "cashup.strategies.bars",
    "LiveRun": "cashup.workers.live_run",
    "RollingModel": "cashup.strategies.model",
    "Strategy": "cashup.strategies.strategy",
    "Universe": "cashup.strategies.universe",
    "check": "cashup.research.checks.run",
    "gate": "cashup.research.promotion",
    "indicator": "cashup.strategies.indicator",
    "sweep": "cashup.research.sweeping.sweep",
    "validate": "cashup.research.validating.validation",
    "walkforward": "cashup.research.validating.walkforward",
}


def run(
    strategy: Strategy,
    *,
    exchange: str | None = None,
    start: str | datetime | None = None,
    end: str | datetime | None = None,
    capital: float | None = None,
    fee: float | None = None,
    slippage: float | None = None,
    maker_fee: float | None = None,
    funding: bool | None = None,
    venue_limits: bool | None = None,
    data_version: str | None = None,
) -> Backtest | LiveRun:
    """Run `strategy` where the notebook is: a backtest in research, live trading when it is executed as a worker.

    The arguments are for a backtest by hand: `exchange` names the lake's folder (default `gate`), `start` and `end`
    (ISO dates, UTC, half-open) the time of decisions, `capital` in quote currency (default 10,000), `fee` and
    `slippage` are ratios (default 0.001 and 0), `maker_fee` is paid by orders that rested (default: as `fee`).
    `funding=False` leaves the funding of perpetuals out, `venue_limits=True` cuts sizes to the venue's lots and
    minimums, `data_version` runs on the bars of an earlier run again. What the command line or the worker was told
    wins over all of them.

    Returns a result with `stats() plot() trades equity orders`. Raises DataError when the lake lacks the bars, and
    NotebookError when the target function breaks its contract.
    """
    import os

    from cashup.strategies.capture import reached

    reached(strategy)
    if os.environ.get("CASHUP_WORKER"):
        from cashup.workers.session import run_live

        return run_live(strategy)
    from cashup.research.backtest import run_backtest

    return run_backtest(
        strategy,
        exchange=exchange,
        start=start,
        end=end,
        capital=capital,
        fee=fee,
        slippage=slippage,
        maker_fee=maker_fee,
        funding=funding,
        venue_limits=venue_limits,
        data_version=data_version,
    )


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
