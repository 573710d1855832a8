"""NautilusTrader on the task: a Python strategy in its BacktestEngine; on bars it fills at the signal bar's close."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pandas as pd
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.indicators import SimpleMovingAverage
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.persistence.wranglers import BarDataWrangler
from nautilus_trader.trading.strategy import Strategy
from task import CASH, FAST, FEE, SLOW, report

VENUE = Venue("SIM")
PAIR = CurrencyPair(
    instrument_id=InstrumentId(Symbol("BTCUSDT"), VENUE),
    raw_symbol=Symbol("BTCUSDT"),
    base_currency=BTC,
    quote_currency=USDT,
    price_precision=2,
    size_precision=6,
    price_increment=Price.from_str("0.01"),
    size_increment=Quantity.from_str("0.000001"),
    ts_event=0,
    ts_init=0,
    maker_fee=Decimal(str(FEE)),
    taker_fee=Decimal(str(FEE)),
)
BAR_TYPE = BarType.from_str("BTCUSDT.SIM-1-MINUTE-LAST-EXTERNAL")


class Cross(Strategy):
    """One unit while the fast average is above the slow one."""

    def __init__(self) -> None:
        super().__init__(StrategyConfig())
        self.fast, self.slow = SimpleMovingAverage(FAST), SimpleMovingAverage(SLOW)

    def on_start(self) -> None:
        """Listen to the bars."""
        self.register_indicator_for_bars(BAR_TYPE, self.fast)
        self.register_indicator_for_bars(BAR_TYPE, self.slow)
        self.subscribe_bars(BAR_TYPE)

    def on_bar(self, bar: Bar) -> None:
        """Buy or close."""
        if not self.slow.initialized:
            return
        above, flat = self.fast.value > self.slow.value, self.portfolio.is_flat(PAIR.id)
        if above and flat:
            self.submit_order(self.order_factory.market(PAIR.id, OrderSide.BUY, PAIR.make_qty(1)))
        elif not above and not flat:
            self.close_all_positions(PAIR.id)


def run(bars: pd.DataFrame) -> dict[str, Any]:
    """The closed positions and the final balance."""
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(VENUE, OmsType.NETTING, AccountType.CASH, [Money(CASH, USDT), Money(0, BTC)])
    engine.add_instrument(PAIR)
    engine.add_data(BarDataWrangler(BAR_TYPE, PAIR).process(bars.tz_localize("UTC")))
    engine.add_strategy(Cross())
    engine.run()
    closed = len(engine.trader.generate_positions_report())
    account = engine.kernel.cache.account_for_venue(VENUE)
    return {"trades": closed, "final": float(account.balance_total(USDT))}


report(run)
